# %% 08.1
def my_int8_layer(x, weight, bias):
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = (high - low) / 255
    zero = np.round(-low / step)
    whole = np.clip(np.round(x / step) + zero, 0, 255)
    scale = np.abs(weight).max(axis=1) / 64
    weights = np.round(weight / scale[:, None])
    return (whole - zero) @ weights.T * step * scale + bias


check("08.1", my_int8_layer)


# %% 08.2
def my_timing(call, warmup, runs, clock):
    for _ in range(warmup):
        call()
    took = []
    for _ in range(runs):
        begun = clock()
        call()
        took.append(clock() - begun)
    low, middle, high = 1000 * np.quantile(took, [0.25, 0.5, 0.75])
    return middle, high - low


check("08.2", my_timing)


# %% 08.3
def my_crossover(ours_ms, ours_bytes, other_ms, other_bytes):
    milliseconds, bits = ours_ms - other_ms, 8 * (other_bytes - ours_bytes)
    if milliseconds * bits <= 0:
        return None
    return bits / milliseconds / 1000


check("08.3", my_crossover)


# %% 08.4
answer = 8 * (4500 - 1500) / (12 + 20 - 3 - 12) / 1000
check("08.4", answer)
# %% 08.5
answer = 4500 / 1500
check("08.5", answer)
# %% 08.6
answer = 20 / (12 - 10)
check("08.6", answer)
# %% 08.7
answer = "c"
check("08.7", answer)


# %% 08.8
def my_total(device, size, server, rate, delay, slowdown, speedup):
    return device * slowdown + 8 * size / (1000 * rate) + 2 * delay + server / speedup


check("08.8", my_total)
