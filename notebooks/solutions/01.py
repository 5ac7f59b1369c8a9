# %% 01.1
def my_step(p_xy, encoder, beta):
    p_x = p_xy.sum(1)
    p_t = p_x @ encoder
    p_y_t = encoder.T @ p_xy / p_t[:, None]
    p_y_x = p_xy / p_x[:, None]
    cross = p_y_x @ np.log2(np.maximum(p_y_t, 1e-300)).T
    weights = p_t * 2.0 ** (beta * (cross - cross.max(1, keepdims=True)))
    return weights / weights.sum(1, keepdims=True)


check("01.1", my_step)


# %% 01.2
def my_bounds(x, y, encoder, prior, decoder):
    p = encoder[x]
    rate = (p * np.log2(np.where(p > 0, p, 1) / prior)).sum(1).mean()
    cross_entropy = -(p * np.log2(decoder[:, y].T)).sum(1).mean()
    return rate, cross_entropy


check("01.2", my_bounds)
# %% 01.3
answer = math.log2(10) + 0.9 * math.log2(0.9) + 0.1 * math.log2(0.1 / 9)
check("01.3", answer)
# %% 01.4
answer = 0.5 * math.log2(0.5 / 0.9) + 0.5 * math.log2(0.5 / 0.1)
check("01.4", answer)
# %% 01.5
answer = (2 - 1) / (1.7 - 0.95)
check("01.5", answer)


# %% 01.6
def my_information(p_xy):
    product = p_xy.sum(1, keepdims=True) * p_xy.sum(0, keepdims=True)
    used = p_xy > 0
    return (p_xy[used] * np.log2(p_xy[used] / product[used])).sum()


check("01.6", my_information)
# %% 01.7
answer = "b"
check("01.7", answer)
