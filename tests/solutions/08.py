# %% 08.1
answer = 8 * (4500 - 1500) / (12 + 20 - 3 - 12) / 1000
check("08.1", answer)
# %% 08.2
answer = 4500 / 1500
check("08.2", answer)
# %% 08.3
answer = 20 / (12 - 10)
check("08.3", answer)
# %% 08.4
answer = "c"
check("08.4", answer)


# %% 08.5
def my_total(device, size, server, rate, delay, slowdown, speedup):
    return device * slowdown + 8 * size / (1000 * rate) + 2 * delay + server / speedup


check("08.5", my_total)
