"""Makes what lies in this folder: `.venv/bin/python examples/make.py` (needs the train extra).

- portrait.jpg: the public-domain portrait of Grace Hopper that matplotlib ships, its bytes unchanged.
- portrait_upconv.png: the same portrait halved and restored by a small network with one transposed
  convolution, which is trained here on the portrait itself (Durall et al. 2020, section 2.2). What the
  network puts into the finest detail is what the spectrum detector looks for.
- portrait_small.jpg: a copy too small to be judged.
- clip.mp4: two seconds over the restored portrait.
"""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
SIDE = 480  # of the square around the face
STEPS = 300


def portrait() -> torch.Tensor:
    """(1, 3, SIDE, SIDE) in [0, 1], the upper square of the portrait."""
    picture = np.asarray(Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB"))
    square = picture[:SIDE, 16 : 16 + SIDE].astype(np.float32) / 255
    return torch.from_numpy(square).permute(2, 0, 1)[None]


def restored(image: torch.Tensor) -> torch.Tensor:
    """The image halved by averaging and brought back by one transposed convolution, trained to do so."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1)
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    small = functional.avg_pool2d(image, 2)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = functional.mse_loss(network(small), image)
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return network(small).clamp(0, 1)


def as_bytes(image: torch.Tensor) -> np.ndarray:
    """(1, 3, H, W) in [0, 1] → (H, W, 3) uint8."""
    return np.asarray((255 * image[0]).round().to(torch.uint8).permute(1, 2, 0))


def write_clip(picture: np.ndarray, path: Path) -> None:
    """Two seconds that pan over a picture, 24 frames a second, H.264."""
    size, n_frames = 320, 48
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24), options={"crf": "18"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for step in range(n_frames):
            left = round((SIDE - size) * step / (n_frames - 1))
            window = np.ascontiguousarray(picture[60 : 60 + size, left : left + size])
            for packet in stream.encode(av.VideoFrame.from_ndarray(window, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def main() -> None:
    """Write everything."""
    shutil.copyfile(get_sample_data("grace_hopper.jpg", asfileobj=False), HERE / "portrait.jpg")
    fake = as_bytes(restored(portrait()))
    Image.fromarray(fake).save(HERE / "portrait_upconv.png", optimize=True)
    Image.fromarray(as_bytes(portrait())).resize((96, 96)).save(HERE / "portrait_small.jpg", quality=90)
    write_clip(fake, HERE / "clip.mp4")


if __name__ == "__main__":
    main()
