# %% 07.1
class MyRestorationBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            nn.Conv2d(width, 3 * width, 1),
            nn.GELU(),
            nn.Conv2d(3 * width, width, 1),
            Affine(width, 0.2),
        )

    def forward(self, x):
        return x + self.branch(x)


check("07.1", MyRestorationBlock)


# %% 07.2
def my_convnext(x, w):
    y = F.conv2d(x, w["conv_dw.weight"], w["conv_dw.bias"], padding=3, groups=x.shape[1]).permute(0, 2, 3, 1)
    y = F.layer_norm(y, y.shape[-1:], w["norm.weight"], w["norm.bias"], 1e-6)
    y = F.gelu(F.linear(y, w["mlp.fc1.weight"], w["mlp.fc1.bias"]))
    y = w["gamma"] * F.linear(y, w["mlp.fc2.weight"], w["mlp.fc2.bias"])
    return x + y.permute(0, 3, 1, 2)


check("07.2", my_convnext)


# %% 07.3
def my_swin(x, w, bias, mask, window, shift):
    (b, rows, columns, c), heads = x.shape, len(bias)
    y = F.layer_norm(x, (c,), w["norm1.weight"], w["norm1.bias"]).roll((-shift, -shift), (1, 2))
    y = y.view(b, rows // window, window, columns // window, window, c).transpose(2, 3)
    y = F.linear(y.reshape(b, -1, window**2, c), w["attn.qkv.weight"], w["attn.qkv.bias"])
    q, k, v = y.unflatten(-1, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5)
    scores = q @ k.transpose(-2, -1) / (c / heads) ** 0.5 + bias
    if mask is not None:
        scores = scores + mask[:, None]
    y = (scores.softmax(-1) @ v).transpose(2, 3)
    y = y.reshape(b, rows // window, columns // window, window, window, c).transpose(2, 3).reshape(x.shape)
    x = x + F.linear(y, w["attn.proj.weight"], w["attn.proj.bias"]).roll((shift, shift), (1, 2))
    y = F.layer_norm(x, (c,), w["norm2.weight"], w["norm2.bias"])
    y = F.gelu(F.linear(y, w["mlp.fc1.weight"], w["mlp.fc1.bias"]))
    return x + F.linear(y, w["mlp.fc2.weight"], w["mlp.fc2.bias"])


check("07.3", my_swin)


# %% 07.4
def my_decoder_step(codec, decoder, optimiser, x, h, noise):
    with torch.no_grad():
        y_hat, _ = codec.quantise(codec.encoder(x), "straight_through", noise)
    distortion = (((h - decoder(y_hat)) / decoder.spread) ** 2).mean()
    optimiser.zero_grad()
    distortion.backward()
    optimiser.step()
    return distortion.item()


check("07.4", my_decoder_step)
# %% 07.5
answer = 2 * 9 * 48**2 / (49 * 48 + 2 * 4 * 48**2)
check("07.5", answer)
# %% 07.6
answer = 100 * (1 - 60 * 1.2 / (60 + 60))
check("07.6", answer)
# %% 07.7
answer = "c"
check("07.7", answer)
# %% 07.8
answer = 3**2
check("07.8", answer)


# %% 07.9
def my_decoder(scores, parameters, loss):
    best = max(scores.values())
    return min((name for name in scores if scores[name] >= best - loss), key=parameters.get)


check("07.9", my_decoder)
