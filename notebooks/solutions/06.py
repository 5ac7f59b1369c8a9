# %% 06.1
def my_gain(lmbda, anchors, gains):
    right = next(i for i in range(1, len(anchors)) if lmbda <= anchors[i])
    t = math.log(lmbda / anchors[right - 1]) / math.log(anchors[right] / anchors[right - 1])
    return gains[right - 1] ** (1 - t) * gains[right] ** t


check("06.1", my_gain)


# %% 06.2
def my_bd_rate(anchor_bytes, anchor_quality, test_bytes, test_quality):
    low = max(anchor_quality[0], test_quality[0])
    high = min(anchor_quality[-1], test_quality[-1])
    q = np.linspace(low, high, 1000)
    anchor = PchipInterpolator(anchor_quality, np.log(anchor_bytes))(q)
    test = PchipInterpolator(test_quality, np.log(test_bytes))(q)
    return 100 * (np.exp((test - anchor).mean()) - 1)


check("06.2", my_bd_rate)


# %% 06.3
def my_interval(values, draws, rng):
    picks = rng.integers(len(values), size=(draws, len(values)))
    return np.percentile(values[picks].mean(axis=1), [2.5, 97.5])


check("06.3", my_interval)
# %% 06.4
answer = math.sqrt(1.2 * 0.5)
check("06.4", answer)
# %% 06.5
answer = 100 * (600 / 1000 - 1)
check("06.5", answer)
# %% 06.6
answer = (1.96 / 0.01) ** 2 * 0.75 * 0.25
check("06.6", answer)
# %% 06.7
answer = "c"
check("06.7", answer)
