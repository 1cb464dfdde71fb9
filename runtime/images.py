"""Folders of images, decoded as they are needed (needs the package Pillow)."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from .errors import RunError
from .files import unreadable
from .order import AUGMENTING, check_positive, divided, random_bits
from .source import Batch, Rows, by_role

ROLES = ("image", "label")
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
FITS = ("crop", "stretch")
KEPT = 2**30  # bytes of decoded images up to which they are kept


class Images(Rows):
    """The images of a folder, with the folders in it as classes, or without classes.

    Each image is turned as its camera says, converted to grey, RGB or RGBA, and resized by
    bilinear interpolation. What a field of the batch holds is said by its role:

    image  float32[batch, rows, columns(, channels)], in 0 to 1 times 255 × scale
    label  int32[batch]: the place of its folder's name among the sorted ones, from 0

    folder:   `folder/CLASS/*.png` or `folder/*.png`; also .jpg and other formats
    size:     rows and columns
    channels: 1, 3 or 4; None for grey without a dim of its own
    fields:   field of the batch -> role
    batch:    images in a batch
    scale:    factor for the values 0 to 255
    fit:      "crop": scaled until it covers the size, and the middle taken; "stretch"
    flip:     in training, every other image by chance is mirrored, left to right
    crop:     in training, an image gets this many rows and columns of zeros on each side, and a
              part of its size is taken at a random place
    held_out: images to evaluate on, as a count (int) or a fraction (float), 0 for none; or
              another such folder, with the same classes
    split:    which images those are: see `order.split_rows`
    split_seed: determines the split; None: seed does
    seed:     determines the order, flips and crops
    classes:  how many classes the model knows, to be checked; None: not checked

    Raises RunError if there are none, or the classes do not fit; a batch raises it if one of its
    images cannot be decoded.
    """

    unit = "images"

    def __init__(
        self,
        folder: str | Path,
        *,
        size: tuple[int, int],
        batch: int,
        channels: int | None = None,
        fields: Mapping[str, str] | Sequence[str] = ROLES,
        scale: float = 1 / 255,
        fit: str = "crop",
        flip: bool = False,
        crop: int = 0,
        held_out: float | str | Path = 0.1,
        split: str = "random",
        split_seed: int | None = None,
        seed: int = 0,
        classes: int | None = None,
    ):
        _pillow(folder)
        self.path, self.fields = Path(folder), by_role(fields, ROLES, "a folder of images")
        if fit not in FITS:
            raise RunError(f"fit = {fit!r}: it can be {' or '.join(FITS)}.")
        check_positive(rows=size[0], columns=size[1])
        self._mode, self._size = MODES[channels or 1], (int(size[0]), int(size[1]))
        self._shape = (*self._size, *(() if channels is None else (channels,)))
        self._scale, self._fit = np.float32(scale), fit
        self._flip, self._crop = bool(flip), int(crop)
        found = _Found(self.path)
        self.classes, files = found.classes, found.files
        if "label" in self.fields.values() and self.classes is None:
            raise RunError(
                f"{folder} holds images without classes, so it offers no label.\n"
                "With classes, the images of each are in a folder of its name."
            )
        if classes is not None and len(self.classes or ()) > classes:
            raise RunError(
                f"{folder} has {len(self.classes or ())} classes, and the model knows {classes}."
            )
        other = None
        if isinstance(held_out, str | Path):
            more = _Found(Path(held_out))
            if more.classes != self.classes:
                raise RunError(
                    f"{held_out} has the classes {_named(more.classes)}; in {folder} they are"
                    f" {_named(self.classes)}."
                )
            other = len(more.files), {"sha256": more.sha256()}
            files = [*files, *more.files]
        self._files = [path for path, _ in files]
        self._labels = np.array([label for _, label in files], np.int32)
        rows, described = divided(
            len(found.files), held_out, split=split, split_seed=split_seed, seed=seed, other=other
        )
        self._described = {"sha256": found.sha256(), **described}
        self._left_out = found.others
        self._decoded = _Decoded(len(files), self._shape, self._read)
        super().__init__(*rows, batch=batch, seed=seed)

    def take(self, ids: np.ndarray) -> Batch:
        return self._batch_of(ids, self._decoded.take(ids))

    def part(self, step: int, rows: slice) -> Batch:
        ids = self.ids(step)
        bits = random_bits(self._seed, AUGMENTING, step, 3 * len(ids)).reshape(-1, 3)[rows]
        return self._batch_of(ids[rows], self._augmented(self._decoded.take(ids[rows]), bits))

    def describe(self) -> dict:
        return {
            "kind": "images",
            **self._described,
            "fields": self.fields,
            "shape": list(self._shape),
            "classes": self.classes,
            "scale": float(self._scale),
            "fit": self._fit,
            "flip": self._flip,
            "crop": self._crop,
            "batch": self._batch,
            "seed": self._seed,
        }

    def summary(self) -> str:
        classes = f" in {len(self.classes)} classes" if self.classes is not None else ""
        others = f"; {self._left_out:,} other files left out" if self._left_out else ""
        return self.counted(self.path.name) + classes + others

    def _batch_of(self, ids: np.ndarray, pixels: np.ndarray) -> Batch:
        made = {"image": lambda: pixels * self._scale, "label": lambda: self._labels[ids]}
        return {field: made[role]() for field, role in self.fields.items()}

    def _augmented(self, pixels: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """Flips and crops; bits: uint64[images, 3]."""
        if self._flip:
            chosen = (bits[:, 0] & np.uint64(1)).astype(bool)
            pixels[chosen] = pixels[chosen][:, :, ::-1]
        if self._crop:
            (height, width), around = self._size, self._crop
            margins = [(0, 0), (around, around), (around, around)]
            padded = np.pad(pixels, margins + [(0, 0)] * (pixels.ndim - 3))
            places = (bits[:, 1:] % np.uint64(2 * around + 1)).astype(int)
            for row, (y, x) in enumerate(places):
                pixels[row] = padded[row, y : y + height, x : x + width]
        return pixels

    def _read(self, index: int) -> np.ndarray:
        image_of, operations = _pillow(self.path)
        path = self._files[index]
        try:
            with image_of.open(path) as image:
                if image.mode[:1] in ("I", "F"):
                    raise RunError(f"{path} has more than 8 bits a channel, which is not read.")
                image = operations.exif_transpose(image).convert(self._mode)
        except FileNotFoundError as error:
            raise unreadable(path, error) from None
        except (OSError, ValueError, SyntaxError, image_of.DecompressionBombError) as error:
            raise RunError(f"the image {path} cannot be decoded: {error}") from None
        width_height = self._size[::-1]
        if image.size != width_height:
            bilinear = image_of.Resampling.BILINEAR
            if self._fit == "crop":
                image = operations.fit(image, width_height, bilinear)
            else:
                image = image.resize(width_height, bilinear)
        return np.asarray(image, np.uint8).reshape(self._shape)


class _Found:
    """The images of a folder: (path, class) in the order of their names."""

    def __init__(self, folder: Path):
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "is not there"
            raise RunError(f"the folder of images {folder} {what}.")
        self._folder = folder
        inside = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
        folders = [p for p in inside if p.is_dir()]
        loose = [p for p in inside if _is_image(p)]
        self.others = sum(not p.is_dir() and not _is_image(p) for p in inside)
        if folders and loose:
            raise RunError(
                f"{folder} holds both folders, as for classes, and images, such as {loose[0].name}."
            )
        self.classes = [p.name for p in folders] if folders else None
        self.files = [(path, 0) for path in loose]
        for label, inner in enumerate(folders):
            files = sorted(p for p in inner.rglob("*") if p.is_file())
            chosen = [p for p in files if _is_image(p)]
            if not chosen:
                raise RunError(f"there is no image in {inner}, which should be a class.")
            self.others += len(files) - len(chosen)
            self.files += [(path, label) for path in chosen]
        if not self.files:
            raise RunError(f"there is no image in {folder}: {', '.join(ENDINGS)}.")

    def sha256(self) -> str:
        """Of the names and sizes of all files, and of their first and last 4 KiB."""
        found = hashlib.sha256()
        for path, _ in self.files:
            try:
                with open(path, "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    start = file.read(4096)
                    file.seek(max(0, size - 4096))
                    end = file.read(4096)
            except OSError as error:
                raise unreadable(path, error) from None
            name = path.relative_to(self._folder).as_posix()
            found.update(f"{name}\0{size}\0".encode() + start + end)
        return found.hexdigest()


class _Decoded:
    """Images by number, each decoded once where all of them together are small enough."""

    def __init__(self, count: int, shape: tuple[int, ...], read: Any):
        self._read, self._shape = read, shape
        kept = count * int(np.prod(shape)) <= KEPT
        self._all = np.empty((count, *shape), np.uint8) if kept else None
        self._there = np.zeros(count, bool)
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="images")
        self._lock = threading.Lock()  # batches may be asked for from several threads

    def take(self, ids: np.ndarray) -> np.ndarray:
        """uint8[len(ids), *shape], a new array."""
        if self._all is None:
            return np.stack(list(self._pool.map(self._read, ids.tolist())))
        with self._lock:
            missing = np.unique(ids[~self._there[ids]])
            for index, pixels in zip(
                missing, self._pool.map(self._read, missing.tolist()), strict=True
            ):
                self._all[index] = pixels
            self._there[missing] = True
            return self._all[ids]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and path.is_file() and not path.name.startswith(".")


def _named(classes: Sequence[str] | None) -> str:
    return ", ".join(classes) if classes else "none"


def _pillow(folder: str | Path) -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise RunError(
            f"the images in {folder} are read by the package Pillow, which is not installed:\n"
            "pip install pillow"
        ) from None
    return Image, ImageOps
