# %% 04.1
def my_map(a, g):
    cam = np.maximum((g.mean(axis=(1, 2))[:, None, None] * a).sum(axis=0), 0)
    return (cam - cam.min()) / (cam.max() - cam.min())


check("04.1", my_map)


# %% 04.2
def my_grad_cam(network, layer, x, target):
    found = {}

    def keep(module, inputs, h):
        found["a"] = h.detach()
        h.register_hook(lambda g: found.update(g=g))

    handle = layer.register_forward_hook(keep)
    network(x.clone().requires_grad_())[0, target].backward()
    handle.remove()
    a, g = (found[name][0].numpy() for name in "ag")
    cam = np.maximum((g.mean(axis=(1, 2))[:, None, None] * a).sum(axis=0), 0)
    return (cam - cam.min()) / (cam.max() - cam.min() + 1e-12)


check("04.2", my_grad_cam)


# %% 04.3
def my_weight(s, guidance):
    weight = (1 + s) / 2
    if guidance == "constant":
        weight = weight.mean(dim=(2, 3), keepdim=True).expand_as(weight)
    return weight


check("04.3", my_weight)


# %% 04.4
answer = "b"
check("04.4", answer)


# %% 04.5
answer = 2 / (1 + 0.25)
check("04.5", answer)


# %% 04.6
answer = "c"
check("04.6", answer)


# %% 04.7
answer = 14
check("04.7", answer)
