"""Decodes photos, also as a separate process: `python -m attire.serve.decoder_process`.

The process reads photos from standard input, writes pixels to standard output, and ends when its input is closed. This
module imports little, so that the process starts fast and stays small.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attire.errors import PhotoError
from attire.photos.image import open_photo
from attire.pixels.preprocess import Preprocess

VIEW_PX = 2048  # longer side of a photo that is shown to people
NICENESS = 19  # the engine and small photos go first
TASK = struct.Struct("<II")  # length of the task, length of the photo; both follow
ANSWER = struct.Struct("<?II")  # True, height, width, followed by pixels; or False, length, 0, followed by the reason


def decode(content: bytes, preprocess: Preprocess | None) -> NDArray[np.uint8]:
    """Return uint8[3, H, W] for the network, or without `preprocess` uint8[h, w, 3] for people; raises `PhotoError`."""
    if preprocess is not None:
        return preprocess.resize(open_photo(content, target_px=preprocess.size_px))
    photo = open_photo(content, target_px=(VIEW_PX, VIEW_PX))
    photo.thumbnail((VIEW_PX, VIEW_PX), Image.Resampling.BICUBIC)
    return np.asarray(photo)


def ask(
    questions: IO[bytes], answers: IO[bytes], content: bytes, preprocess: Preprocess | None, cpu_s: float
) -> NDArray[np.uint8]:
    """Run `decode` in the process behind these pipes, with a CPU limit; raises `EOFError` if the process ended."""
    task = json.dumps({"cpu_s": cpu_s, "preprocess": None if preprocess is None else preprocess.model_dump()}).encode()
    questions.write(TASK.pack(len(task), len(content)))
    questions.write(task)
    questions.write(content)
    questions.flush()
    decoded, height, width = ANSWER.unpack(_read_exactly(answers, ANSWER.size))
    if not decoded:
        raise PhotoError(_read_exactly(answers, height).decode())
    pixels = np.frombuffer(_read_exactly(answers, 3 * height * width), np.uint8)
    return pixels.reshape((height, width, 3) if preprocess is None else (3, height, width))


def answer(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Serve requests of `ask` until the input is closed."""
    while head := questions.read(TASK.size):
        task_size, photo_size = TASK.unpack(head)
        task, content = json.loads(questions.read(task_size)), questions.read(photo_size)
        _limit_cpu(task["cpu_s"])
        try:
            preprocess = task["preprocess"] and Preprocess.model_validate(task["preprocess"])
            pixels = decode(content, preprocess)
        except PhotoError as error:
            reason = str(error).encode()
            answers.write(ANSWER.pack(False, len(reason), 0) + reason)
        else:
            height, width = pixels.shape[:2] if preprocess is None else pixels.shape[1:]
            answers.write(ANSWER.pack(True, height, width) + pixels.tobytes())
        answers.flush()


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _limit_cpu(cpu_s: float) -> None:
    """Let the system kill this process after `cpu_s` more seconds of CPU time."""
    with contextlib.suppress(ImportError):  # Windows
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime + cpu_s) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _yield_cpu() -> None:
    """Let the engine run first: on few cores, each of its layers would wait for a thread that a decoder displaced."""
    with contextlib.suppress(AttributeError, OSError):  # Windows
        os.nice(NICENESS)
    with contextlib.suppress(OSError):  # Linux compares niceness within a session only, and sessions by this file
        Path("/proc/self/autogroup").write_text(str(NICENESS), encoding="ascii")


def main() -> None:
    """Serve on the standard streams; other output goes to standard error."""
    _yield_cpu()
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        answer(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
