"""Small networks that forge faces: swapper, mouth renderer, upsampler, inpainter, generator; and one training loop.

Pictures are float32 (B, 3, H, W), RGB in [0, 1]; everything runs on one CPU core in seconds.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

CODE = 80  # numbers that say what a face does
PLAIN = 3 * 96 * 96
LATENT, POSE = 64, 136  # numbers the generator draws, and those that say where the landmarks are
TEXELS, TEXTURE = 12, 64  # channels and side of a neural texture


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(0.1, inplace=True))


class _Up(nn.Sequential):
    """Twice the side by sub-pixel convolution. Source: Shi et al. 2016, section 2.2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, 4 * outputs, 3, 1, 1),
            nn.PixelShuffle(2),
            nn.LeakyReLU(0.1, inplace=True),
        )


class Encoder(nn.Module):
    """A face (B, 3, 96, 96) -> its code (B, size).

    Args:
        size: numbers of the code.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),
            _conv(12, 48, 2),
            _conv(48, 48),
            _conv(48, 96, 2),
            _conv(96, 128, 2),
            nn.Flatten(),
            nn.Linear(128 * 36, size),
        )

    def forward(self, faces: Tensor) -> Tensor:
        """Encode faces."""
        return self.body(faces - 0.5)


class Decoder(nn.Module):
    """A code (B, size) -> a face (B, 3, 96, 96): a learned mean face plus what the code changes.

    Args:
        size: numbers of the code.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.start = nn.Sequential(
            nn.Linear(size, 256), nn.LeakyReLU(0.1), nn.Linear(256, 96 * 36), nn.LeakyReLU(0.1)
        )
        self.grow = nn.Sequential(_Up(96, 80), _Up(80, 56), _conv(56, 56), _Up(56, 32))
        self.end = nn.Sequential(nn.Conv2d(32, 12, 3, 1, 1), nn.PixelShuffle(2))
        self.face = nn.Parameter(torch.full((3, 96, 96), 0.5))
        nn.init.zeros_(self.end[0].weight)
        nn.init.zeros_(self.end[0].bias)

    def change(self, codes: Tensor) -> Tensor:
        """What codes add to the mean face: (B, 3, 96, 96)."""
        grid = self.start(codes).view(-1, 96, 6, 6).contiguous(memory_format=torch.channels_last)
        return self.end(self.grow(grid))

    def forward(self, codes: Tensor) -> Tensor:
        """Decode codes; the values may leave [0, 1] a little."""
        return self.face + self.change(codes)


class FaceSwapper(nn.Module):
    """A shared encoder and one decoder per person, on canonical faces.

    Args:
        people: number of persons.

    Source: the deepfakes autoencoder as used in FaceForensics++ (Roessler et al. 2019, section 3.1); sizes, the mean
    face in each decoder and the noise on the code are our own.
    """

    def __init__(self, people: int) -> None:
        super().__init__()
        self.encoder = Encoder(CODE)
        self.decoders = nn.ModuleList(Decoder(CODE) for _ in range(people))
        self.register_buffer("shapes", torch.zeros(people, 68, 2))

    def encode(self, faces: Tensor, noise: float = 0.0) -> Tensor:
        """Codes (B, 80) in [-1, 1] of faces; noise keeps what is not needed out of them."""
        codes = torch.tanh(self.encoder(faces))
        return codes + noise * torch.randn_like(codes) if noise else codes

    def forward(self, faces: Tensor, person: int) -> Tensor:
        """Give faces (B, 3, 96, 96) the looks of a person."""
        return self.decoders[person](self.encode(faces))


class UNet(nn.Module):
    """A picture-to-picture network with links between equal sizes.

    Args:
        inputs: channels of the input; sides divisible by 16.
        widths: channels at a half, a quarter, an eighth and a sixteenth of the side.

    Source: Ronneberger et al. 2015; entry and exit by pixel (un)shuffling are our own choice.
    """

    def __init__(self, inputs: int, widths: tuple[int, int, int, int] = (32, 48, 80, 128)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), _conv(4 * inputs, a))
        self.down = nn.ModuleList([_conv(a, b, 2), _conv(b, c, 2), _conv(c, d, 2)])
        self.middle = _conv(d, d)
        self.up = nn.ModuleList([_Up(d, c // 2), _Up(c, b // 2), _Up(b, a // 2)])
        self.join = nn.ModuleList(
            [_conv(c + c // 2, c), _conv(b + b // 2, b), _conv(a + a // 2, a)]
        )
        self.leave = nn.Sequential(nn.Conv2d(a, 12, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to pictures (B, 3, H, W)."""
        x = self.enter(x.contiguous(memory_format=torch.channels_last))
        kept = []
        for down in self.down:
            kept.append(x)
            x = down(x)
        x = self.middle(x)
        for up, join, other in zip(self.up, self.join, reversed(kept), strict=True):
            x = join(torch.cat([up(x), other], 1))
        return self.leave(x) + 0.5


class Inpainter(nn.Module):
    """Fills a hole in a canonical face from what surrounds it.

    Source: the task of Pathak et al. 2016 (context encoders); a U-Net that also sees eight learned maps of the
    canonical face, so that it knows where on the face it is, is our own choice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = UNet(12)
        self.maps = nn.Parameter(0.1 * torch.randn(8, 96, 96))
        self.face = nn.Parameter(torch.full((3, 96, 96), 0.5))

    def forward(self, faces: Tensor, holes: Tensor) -> Tensor:
        """Fill the holes (B, 1, 96, 96; 1 = missing) of faces (B, 3, 96, 96); the rest comes back unchanged."""
        seen = 1 - holes
        around = seen.sum((2, 3), keepdim=True).clamp(min=1)
        # Start from the mean face in this face's colours: the network has the rest to do.
        gain = (faces * seen).sum((2, 3), keepdim=True) / around
        gain = gain / ((self.face * seen).sum((2, 3), keepdim=True) / around).clamp(min=0.02)
        start = (self.face * gain).clamp(0, 1)
        shown = faces * seen + start * holes
        maps = self.maps.expand(len(faces), -1, -1, -1)
        made = start + self.network(torch.cat([shown, holes, maps], 1)) - 0.5
        return faces * seen + made * holes


class MouthRenderer(nn.Module):
    """One neural texture per person and a network that turns a sampled texture into a picture.

    Args:
        people: number of textures.

    Source: deferred neural rendering (Thies et al. 2019, sections 3 and 4), in two dimensions and much smaller: the
    texture lies on the canonical face, the surroundings of the mouth are given as background.
    """

    def __init__(self, people: int) -> None:
        super().__init__()
        self.textures = nn.Parameter(0.1 * torch.randn(people, TEXELS, TEXTURE, TEXTURE))
        self.network = UNet(TEXELS + 4, (40, 48, 64, 80))

    def forward(self, faces: Tensor, holes: Tensor, places: Tensor, people: Tensor) -> Tensor:
        """Render lower faces.

        Args:
            faces: (B, 3, 64, 64). holes: (B, 1, 64, 64), 1 = to be rendered; never seen by the network.
            places: (B, 64, 64, 2) where each pixel lies on the texture, in [-1, 1]. people: (B,) numbers.

        Returns:
            (B, 3, 64, 64), equal to `faces` outside the holes.
        """
        seen = functional.grid_sample(
            self.textures[people], places, "bilinear", "border", align_corners=True
        )
        made = self.network(torch.cat([seen, faces * (1 - holes), holes], 1))
        return faces * (1 - holes) + made * holes


class Upsampler(nn.Module):
    """Super-resolution by two or three: convolutions at low resolution, sub-pixel shuffle at the end.

    Source: ESPCN (Shi et al. 2016), with a residual trunk after EDSR (Lim et al. 2017); sizes our own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enter = _conv(3, 32)
        self.trunk = nn.ModuleList(
            nn.Sequential(_conv(32, 32), nn.Conv2d(32, 32, 3, 1, 1)) for _ in "ab"
        )
        self.leave = nn.ModuleDict(
            {
                str(k): nn.Sequential(nn.Conv2d(32, 3 * k * k, 3, 1, 1), nn.PixelShuffle(k))
                for k in (2, 3)
            }
        )

    def forward(self, small: Tensor, factor: int) -> Tensor:
        """Enlarge pictures (B, 3, h, w) by 2 or 3."""
        x = self.enter(small - 0.5)
        for block in self.trunk:
            x = x + block(x)
        plain = functional.interpolate(
            small, scale_factor=factor, mode="bilinear", align_corners=False
        )
        return plain + self.leave[str(factor)](x)


class Generator(nn.Module):
    """A variational autoencoder of canonical faces whose decoder also hears where the landmarks are.

    Encoder and decoder each have a linear part, which `start` sets to the principal components of the faces, so that
    the convolutions have only the rest to learn.

    Source: Kingma and Welling 2014; sampling from a Gaussian fitted to the codes afterwards after Ghosh et al. 2020;
    landmark condition, linear part and sizes are our own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(2 * LATENT)
        self.pose = nn.Sequential(nn.Linear(POSE, 48), nn.LeakyReLU(0.1), nn.Linear(48, 32))
        self.decoder = Decoder(LATENT + 32)
        self.read = nn.Linear(PLAIN, LATENT, bias=False)
        self.write = nn.Linear(LATENT, PLAIN, bias=False)
        self.register_buffer("centre", torch.zeros(LATENT))
        self.register_buffer("spread", torch.eye(LATENT))
        self.register_buffer("shapes", torch.zeros(6, POSE))

    @torch.no_grad()
    def start(self, faces: Tensor) -> None:
        """Set mean and linear parts to those of faces (N, 3, 96, 96)."""
        flat = faces.flatten(1)
        self.decoder.face.copy_(flat.mean(0).view(3, 96, 96))
        flat = flat - flat.mean(0)
        _, scale, axes = torch.linalg.svd(flat, full_matrices=False)
        count = min(LATENT, len(axes))
        scale = scale[:count] / len(flat) ** 0.5
        scale = scale.clamp(min=max(0.01 * float(scale[0]), 1e-4))
        self.read.weight.zero_()
        self.write.weight.zero_()
        self.read.weight[:count] = axes[:count] / scale[:, None]
        self.write.weight[:, :count] = axes[:count].T * scale
        for part in (self.encoder.body[-1].weight, self.encoder.body[-1].bias):
            part.mul_(0.05)
        self.encoder.body[-1].bias[LATENT:] = -3.0

    def encode(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, 64) of the codes of faces."""
        mean, log_variance = self.encoder(faces).chunk(2, 1)
        return mean + self.read((faces - self.decoder.face).flatten(1)), log_variance.clamp(-8, 4)

    def decode(self, latents: Tensor, poses: Tensor) -> Tensor:
        """Make canonical faces (B, 3, 96, 96) from latents (B, 64) and aligned landmarks (B, 136)."""
        plain = self.write(latents).view(-1, 3, 96, 96)
        return plain + self.decoder(torch.cat([latents, self.pose(poses)], 1))

    def forward(self, faces: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct faces; also give the mean divergence of the codes from the standard normal."""
        mean, log_variance = self.encode(faces)
        latents = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        return self.decode(latents, poses), divergence

    def latent(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise (B, 64) into latents like those of the faces it was taught."""
        return self.centre + noise @ self.spread.T


def picture_loss(made: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1 distance of pictures (B, 3, H, W) at three sizes, fine edges counted extra.

    Args:
        made, wanted: (B, 3, H, W). weight: (B or 1, 1, H, W).

    Returns:
        Scalar.

    Source: own; a Laplacian-pyramid-like L1 keeps edges that plain L1 blurs.
    """
    gap, total = made - wanted, made.new_zeros(())
    for level in range(3):
        total = total + (gap.abs() * weight).mean() / weight.mean()
        if level < 2:
            coarse = functional.avg_pool2d(gap, 2)
            edges = gap - functional.interpolate(coarse, scale_factor=2, mode="nearest")
            total = total + 2 * (edges.abs() * weight).mean() / weight.mean()
            gap, weight = coarse, functional.avg_pool2d(weight, 2)
    return total


@contextmanager
def repeatable(seed: int | None = None) -> Iterator[None]:
    """Run torch on one thread with deterministic algorithms, and restore its settings afterwards.

    Args:
        seed: of torch's random numbers inside the block; None leaves them alone.
    """
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            yield
    finally:
        torch.use_deterministic_algorithms(strict)
        torch.set_num_threads(threads)


def fit(
    groups: Iterable[dict],
    loss: Callable[[int], Tensor],
    steps: int,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train: AdamW, rates that rise over a fifth of the steps and fall to zero.

    Args:
        groups: parameter groups with "params" and "lr" (the highest rate).
        loss: step number -> scalar loss of a fresh batch.
        steps: how many.
        progress: called with the step and the loss, every fiftieth step.

    Returns:
        The loss of each step.

    Raises:
        ValueError: no steps, or the loss is not finite.

    Source: one-cycle rates, Smith and Topin 2019.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected at least 1.")
    groups = [{**g, "params": list(g["params"])} for g in groups]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4, betas=(0.9, 0.98))
    peaks = [g["lr"] for g in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peaks, total_steps=steps + 1, pct_start=0.2, cycle_momentum=False
    )
    every, found = [p for g in groups for p in g["params"]], []
    for step in range(steps):
        value = loss(step)
        if not torch.isfinite(value):
            raise ValueError(
                f"the loss is {value.item()} at step {step}, not finite; lower the rates."
            )
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(every, 1.0)
        optimizer.step()
        schedule.step()
        found.append(value.item())
        if progress and (step + 1) % 50 == 0:
            progress(step + 1, found[-1])
    return found
