# %% 09.1
def my_info_nce(z, z_hat, temperature):
    logits = F.normalize(z) @ F.normalize(z_hat).T / temperature
    partner = torch.arange(len(z))
    return (F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)) / 2


check("09.1", my_info_nce)


# %% 09.2
class MyDynamicWeight:
    def __init__(self, tail, every):
        self.tail, self.every, self.weight = tail, every, None

    def __call__(self, step, h_hat):
        if self.weight is None or step % self.every == 0:
            h = h_hat.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.tail(h).max(dim=1).values.sum(), h)
            cam = (slope.mean(dim=(2, 3), keepdim=True) * h.detach()).sum(dim=1, keepdim=True).clamp_min(0)
            low, high = cam.amin(dim=(2, 3), keepdim=True), cam.amax(dim=(2, 3), keepdim=True)
            self.weight = (1 + (cam - low) / (high - low + 1e-12)) / 2
        return self.weight


check("09.2", MyDynamicWeight)


# %% 09.3
def my_triangles(edges, hertz):
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (hertz - left) / (centre - left), (right - hertz) / (right - centre)
    return np.minimum(rising, falling).clip(0)


check("09.3", my_triangles)
# %% 09.4
answer = math.log(64)
check("09.4", answer)
# %% 09.5
answer = 100 * (20 / 16) / (30 + 20 / 16)
check("09.5", answer)
# %% 09.6
answer = "b"
check("09.6", answer)
