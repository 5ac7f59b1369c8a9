# %% 05.1
answer = sum(-math.log2(p) for p in (0.5, 0.25, 0.125, 0.125))
check("05.1", answer)
# %% 05.2
answer = 0.3 * 8 / (32 * 32)
check("05.2", answer)
# %% 05.3
answer = "b"
check("05.3", answer)


# %% 05.4
def my_distillation(h, h_hat, spread):
    return (((h - h_hat) / spread) ** 2).mean()


check("05.4", my_distillation)
# %% 05.5
answer = "a"
check("05.5", answer)
