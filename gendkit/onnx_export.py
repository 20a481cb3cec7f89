"""A detector as one ONNX file: pixels in, P(fake) out, and how the pixels must be made beside it.

Encoder, head and softmax are in the file; faces, crops and the mean over frames are not. A file is
compared with the detector on real crops before it counts as written.
"""

import json
import logging
import os
import warnings
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from gendkit import repro

INPUT, OUTPUT = "pixel_values", "p_fake"
TOLERANCE = 1e-4
OPSET = 18
LARGEST = 2_000_000_000  # bytes; protobuf holds no more in one file
_KEY = "gendkit"
_PIXELS = ("image_size", "image_mean", "image_std", "resize", "resample", "crop_scale")
_NEEDED = ("onnx", "onnxruntime", "onnxscript")


def export(detector: Any, out: str | Path, opset: int = OPSET) -> dict[str, Any]:
    """Write a detector as ONNX.

    Args:
        detector: As `score.load` gives it: model, processor, threshold, name.
        out: The file; an existing one is replaced.
        opset: Version of ONNX's operators.

    Returns:
        What was stored in the file (`facts_of`).

    Raises:
        ImportError: If a package of the extra "onnx" is missing.
        ValueError: If the model is tuned but not merged, or too large for one file.

    Source: torch.onnx.export, dynamo=True; https://onnx.ai/onnx/repo-docs/IR.html (metadata).
    """
    _need()
    import torch

    model = detector.model
    if hasattr(model, "get_base_model") or getattr(model, "tuning", None):
        raise ValueError("this detector is tuned and not merged; export adapters.merge(model)")
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    if size > LARGEST:
        raise ValueError(
            f"the weights are {size:,} bytes, more than the {LARGEST:,} that one ONNX file holds; "
            "export a smaller detector"
        )
    side = model.encoder.spec.image_size
    where = next(model.parameters()).device
    # a batch of one would be taken for a constant
    pixels = torch.zeros(2, 3, side, side, device=where)
    with warnings.catch_warnings(), _quiet():
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        program = torch.onnx.export(
            _scorer(model).eval(),
            (pixels,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch", min=1)}},
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    facts = _facts(detector)
    program.model.metadata_props[_KEY] = json.dumps(facts, sort_keys=True)
    for node in program.model.graph.all_nodes():
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # folders of this machine
    program.model.producer_name, program.model.producer_version = "gendkit", facts["version"]
    with repro.atomic_path(out) as temporary:
        program.save(str(temporary), external_data=False)
    return facts


def run(path: str | Path, pixel_values: Any, batch_size: int = 32) -> np.ndarray:
    """Score with onnxruntime, on the CPU; torch is not needed.

    Args:
        path: What `export` wrote.
        pixel_values: (N, 3, S, S) float32, made as `facts_of(path)["pixels"]` says.
        batch_size: Crops at a time.

    Returns:
        P(fake), (N,) float32.

    Raises:
        ImportError: If onnxruntime is missing.
        ValueError: If the shape does not fit.
    """
    session = _session(path)
    pixels = np.asarray(pixel_values, dtype=np.float32)
    wanted = session.get_inputs()[0].shape[1:]
    if pixels.ndim != 4 or list(pixels.shape[1:]) != wanted or not len(pixels):
        raise ValueError(
            f"got pixel_values of shape {pixels.shape}, expected (N, {', '.join(map(str, wanted))}) "
            "with N >= 1: what the detector's processor gives"
        )
    parts = [
        session.run([OUTPUT], {INPUT: pixels[start : start + batch_size]})[0]
        for start in range(0, len(pixels), batch_size)
    ]
    return np.concatenate(parts)


def facts_of(path: str | Path) -> dict[str, Any]:
    """Read what `export` stored in a file beside the network.

    Returns:
        name, version, classes, pixels (side, mean, std, resize, resample, crop_scale, order of
        axes), threshold (or None), backbone, head.

    Raises:
        ValueError: If the file is no export of this kit.
    """
    stored = _session(path).get_modelmeta().custom_metadata_map
    if _KEY not in stored:
        raise ValueError(f"{path} was not written by gendkit export: it has no entry {_KEY!r}")
    return json.loads(stored[_KEY])


def parity(path: str | Path, detector: Any, crops: Sequence[np.ndarray]) -> dict[str, Any]:
    """Score the same crops by the detector and by the file.

    Args:
        path: What `export` wrote.
        detector: What it was made from.
        crops: (H, W, 3) uint8 RGB each, aligned faces.

    Returns:
        n, difference (largest, of P(fake)), low and high (range of the detector's scores), p_torch
        and p_onnx, (n,) each.

    Raises:
        ValueError: If there is no crop.
    """
    import torch

    from gendkit.evaluate import probability

    if not len(crops):
        raise ValueError("got no crops to compare on; give at least one")
    pixels = detector.processor(list(crops))["pixel_values"]
    where = next(detector.model.parameters()).device
    with torch.inference_mode():
        logits = detector.model(pixel_values=pixels.to(where)).logits.float()
    ours, theirs = probability(logits), run(path, pixels.numpy())
    return {
        "n": len(crops),
        "difference": float(np.abs(ours - theirs).max()),
        "low": float(ours.min()),
        "high": float(ours.max()),
        "p_torch": ours,
        "p_onnx": theirs,
    }


def nobody_crops(n: int = 16, scale: float = 1.3, size: int = 256) -> list[np.ndarray]:
    """Cut faces of Nobody's Faces by their true landmarks, for a comparison.

    Args:
        n: Number of crops: as many reals of the role report, the middle frame of each.
        scale: Margin of the crop (`faces.align_crop`).
        size: Side of the crop, pixels.

    Returns:
        (size, size, 3) uint8 RGB each.

    Raises:
        FileNotFoundError: If the data are not there.
        ImportError: If OpenCV is missing.
    """
    from gendkit import faces, manifest, video

    folder = repro.data_dir() / "nobody"
    table = manifest.read(folder / "manifest.csv")
    clips = table[(table["method"] == "real") & (table["role"] == "report")].head(n)
    with np.load(folder / "landmarks.npz") as landmarks:
        points = {name: landmarks[name] for name in clips["video_id"]}
    crops = []
    for clip in clips.itertuples():
        middle = clip.n_frames // 2
        frame = video.read_frames(folder / clip.path, [middle])[0]
        five = faces.five_points(points[clip.video_id][middle])
        crops.append(faces.align_crop(frame, five, scale, size))
    return crops


def _scorer(model: Any) -> Any:
    import torch

    class Scorer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.detector = model

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.detector(pixel_values, return_dict=False)[0], dim=-1)[:, 1]

    return Scorer()


def _facts(detector: Any) -> dict[str, Any]:
    from gendkit import __version__

    config, processor = detector.model.config, detector.processor
    backbone = Path(config.backbone)
    return {
        "name": Path(detector.name).name if Path(detector.name).exists() else detector.name,
        "version": __version__,
        "backbone": backbone.name if backbone.is_dir() else config.backbone,
        "head": config.head,
        "classes": {str(k): v for k, v in config.id2label.items()},
        "output": "softmax of the two logits, class 1 (fake), in [0, 1]",
        "pixels": {name: getattr(processor, name) for name in _PIXELS}
        | {"axes": "batch, RGB, height, width", "type": "float32: (value / 255 - mean) / std"},
        "threshold": detector.threshold,
    }


def _need(names: Sequence[str] = _NEEDED) -> None:
    if missing := [name for name in names if util.find_spec(name) is None]:
        raise ImportError(
            f'ONNX export needs {", ".join(missing)}. Install with: pip install "gendkit[onnx]"'
        )


def _session(path: str | Path) -> Any:
    _need(("onnxruntime",))
    import onnxruntime

    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}; write it with gendkit export MODEL --out {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))  # 0: all cores
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )


class _quiet:
    """Keep the exporter's notes on packages that are not needed off the terminal."""

    def __enter__(self) -> None:
        self.logger = logging.getLogger("torch.onnx")
        self.level = self.logger.level
        self.logger.setLevel(logging.ERROR)

    def __exit__(self, *_: Any) -> None:
        self.logger.setLevel(self.level)
