# %% 01.1
answer = math.log2(10) + 0.9 * math.log2(0.9) + 0.1 * math.log2(0.1 / 9)
check("01.1", answer)
# %% 01.2
answer = 0.5 * math.log2(0.5 / 0.9) + 0.5 * math.log2(0.5 / 0.1)
check("01.2", answer)
# %% 01.3
answer = (2 - 1) / (1.7 - 0.95)
check("01.3", answer)


# %% 01.4
def my_information(p_xy):
    product = p_xy.sum(1, keepdims=True) * p_xy.sum(0, keepdims=True)
    used = p_xy > 0
    return (p_xy[used] * np.log2(p_xy[used] / product[used])).sum()


check("01.4", my_information)
# %% 01.5
answer = "b"
check("01.5", answer)
