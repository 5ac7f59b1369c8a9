# %% 03.1
answer = -np.log2(0.5 * 0.3 * 0.5 * 0.2)
check("03.1", answer)
# %% 03.2
answer = 48 * 28 * 28 * -np.log2(0.9) / 8
check("03.2", answer)
# %% 03.3
answer = "d"
check("03.3", answer)


# %% 03.4
def my_likelihood(cumulative, v):
    return cumulative(v + 0.5) - cumulative(v - 0.5)


check("03.4", my_likelihood)


# %% 03.5
def my_bytes(prior, values):
    prior.update()
    return len(encode_symbols(prior.to_symbols(values)[0], prior.tables))


check("03.5", my_bytes)
