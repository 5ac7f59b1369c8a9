# %% 06.1
answer = math.sqrt(1.2 * 0.5)
check("06.1", answer)
# %% 06.2
answer = 100 * (600 / 1000 - 1)
check("06.2", answer)
# %% 06.3
answer = (1.96 / 0.01) ** 2 * 0.75 * 0.25
check("06.3", answer)
# %% 06.4
answer = "c"
check("06.4", answer)


# %% 06.5
def my_gain(lmbda, anchors, gains):
    right = next(i for i in range(1, len(anchors)) if lmbda <= anchors[i])
    t = math.log(lmbda / anchors[right - 1]) / math.log(anchors[right] / anchors[right - 1])
    return gains[right - 1] ** (1 - t) * gains[right] ** t


check("06.5", my_gain)
