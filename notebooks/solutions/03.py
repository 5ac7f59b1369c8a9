# %% 03.1
def my_likelihood(cumulative, v):
    return cumulative(v + 0.5) - cumulative(v - 0.5)


check("03.1", my_likelihood)


# %% 03.2
class MyCoder:
    def __init__(self, stream=b""):
        self.number = int.from_bytes(stream, "little")

    def push(self, s, f):
        above, rest = divmod(self.number, f[s])
        self.number = 65536 * above + sum(f[:s]) + rest

    def pop(self, f):
        above, rest = divmod(self.number, 65536)
        s = 0
        while rest >= f[s]:
            rest -= f[s]
            s += 1
        self.number = f[s] * above + rest
        return s

    def to_bytes(self):
        return self.number.to_bytes((self.number.bit_length() + 7) // 8, "little")


check("03.2", MyCoder)


# %% 03.3
def my_frequencies(pmf):
    shares = [*pmf, max(1 - sum(pmf), 0)]
    f = [max(1, round(65536 * p)) for p in shares]
    f[f.index(max(f))] += 65536 - sum(f)
    return f


check("03.3", my_frequencies)
# %% 03.4
answer = -np.log2(0.5 * 0.3 * 0.5 * 0.2)
check("03.4", answer)
# %% 03.5
answer = 48 * 28 * 28 * -np.log2(0.9) / 8
check("03.5", answer)
# %% 03.6
answer = "d"
check("03.6", answer)


# %% 03.7
def my_bytes(prior, values):
    prior.update()
    return len(encode_symbols(prior.to_symbols(values)[0], prior.tables))


check("03.7", my_bytes)
