# %% 02.1
answer = 512 * 28 * 28
check("02.1", answer)
# %% 02.2
answer = 8 * (20_000 - 5_000) / (0.030 - 0.003) / 1e6
check("02.2", answer)
# %% 02.3
answer = "a"
check("02.3", answer)


# %% 02.4
def my_best(device, sizes, server, rate):
    times = [d + 8 * size / rate + s for d, size, s in zip(device, sizes, server, strict=True)]
    return times.index(min(times))


check("02.4", my_best)
