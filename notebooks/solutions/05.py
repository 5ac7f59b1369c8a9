# %% 05.1
class MyBlock(nn.Module):
    def __init__(self, inside, outside, stride, last):
        super().__init__()
        self.k1 = nn.Conv2d(inside, outside, 3, stride, padding=1)
        self.k2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.ks = nn.Conv2d(inside, outside, 1, stride)
        self.last = last

    def forward(self, x):
        out = self.k2(self.k1(x).relu()) + self.ks(x)
        return out if self.last else out.relu()


check("05.1", MyBlock)


# %% 05.2
class MyEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        (a, b, c), (r, s, t) = config.widths, config.strides
        blocks = Block(3, a, r, last=False), Block(a, b, s, last=False), Block(b, c, t, last=True)
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x):
        return self.blocks(2 * x - 1)


check("05.2", MyEncoder)


# %% 05.3
def my_bits(likelihoods):
    return -torch.log2(likelihoods).sum(dim=(1, 2, 3))


check("05.3", my_bits)


# %% 05.4
def my_distillation(h, h_hat, spread):
    return (((h - h_hat) / spread) ** 2).mean()


check("05.4", my_distillation)


# %% 05.5
def my_quantiser(y, noise):
    return y + (torch.round(y) - y).detach(), y + noise


check("05.5", my_quantiser)


# %% 05.6
def my_step(system, optimiser, x, noise, lmbda):
    y_hat, noisy = quantise(system.codec.encoder(x), noise)
    likelihoods = system.codec.prior.likelihood(noisy)
    rate = bits_of(likelihoods).mean() / (x.shape[-2] * x.shape[-1])
    with torch.no_grad():
        h = system.backbone.head(x)
    distortion = distortion_of(h, system.decoder(y_hat), system.decoder.spread)
    loss = distortion + lmbda * rate
    optimiser.zero_grad()
    loss.backward()
    learned = [p for group in optimiser.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(learned, 1.0)
    optimiser.step()
    return distortion.item(), rate.item()


check("05.6", my_step)
# %% 05.7
answer = sum(-math.log2(p) for p in (0.5, 0.25, 0.125, 0.125))
check("05.7", answer)
# %% 05.8
answer = 0.3 * 8 / (32 * 32)
check("05.8", answer)
# %% 05.9
answer = "b"
check("05.9", answer)


# %% 05.10
answer = "a"
check("05.10", answer)
