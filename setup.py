"""Package `videoadapt`: ranges that admit newer releases; the tested set of exact versions is constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "videoadapt" / "__init__.py").read_text(encoding="utf-8"), re.M)
assert VERSION, "videoadapt/__init__.py holds no line __version__ = "

# decord has wheels for these two platforms only; elsewhere the `decord` decoder hands every file over to PyAV.
DECORD_WHEEL = (
    "(sys_platform == 'linux' and platform_machine == 'x86_64') or "
    "(sys_platform == 'win32' and platform_machine == 'AMD64')"
)

ONNX = [
    "onnxruntime>=1.20",  # demo --onnx: computes an exported file
]

EXPORT = [
    *ONNX,
    "onnx>=1.17",  # tools/export.py: the file format
    "onnxscript>=0.2",  # torch's exporter is written in it; onnxruntime reads the file back
]

TENSORBOARD = [
    "tensorboard>=2.16",  # curves in a browser while training; without it a run says so, and metrics.jsonl holds them
]

WANDB = [
    "wandb>=0.19",  # the logger wandb, in a process of its own; offline unless a config says otherwise
]

MLFLOW = [
    "mlflow-skinny>=3",  # the logger mlflow, likewise: its client, without server, pandas and scikit-learn
    "sqlalchemy>=2",  # what its default store, a database file, is written with
    "alembic>=1.10",  # likewise, its tables
]

ENERGY = [
    "nvidia-ml-py>=12",  # NVML, which counts what a GPU draws, for report.html; without it that is not known
]

TORCHCODEC = [
    "torchcodec>=0.11",  # the third decoder; each release belongs to one of torch, and needs FFmpeg's shared libraries
]

IMAGES = [
    "scikit-learn>=1.4",  # the data set `digits`: real images in a package
    "scipy>=1.11",  # the .mat files of SVHN and Flowers-102, for torchvision
]

CHECK = [
    "imagehash>=4.3",  # prepare check: which videos look alike; without it only equal bytes are found
]

WEB = [
    "fastapi>=0.115",  # demo --serve: the page that takes films
    "uvicorn>=0.30",  # answers its HTTP
]

setup(
    name="videoadapt",
    version=VERSION[1],
    description="Parameter-efficient video action recognition with frozen, VideoMAE-pretrained transformers",
    license="MIT",
    python_requires=">=3.11",
    # configs/ and data_lists/ stand at the top, where people read and change them; a wheel holds them inside the package.
    packages=[*find_packages(include=["videoadapt", "videoadapt.*"]), "videoadapt.configs", "videoadapt.data_lists"],
    package_dir={"videoadapt.configs": "configs", "videoadapt.data_lists": "data_lists"},
    package_data={
        "videoadapt": ["assets/*", "py.typed"],  # the quickstart's backbone; that the package is typed
        "videoadapt.evaluation.report": ["templates/*"],
        "videoadapt.inference.page": ["files/*"],
        "videoadapt.configs": ["*.yaml", "*/*.yaml"],
        "videoadapt.data_lists": ["README.md", "*/*.csv", "*/*.txt"],
    },
    exclude_package_data={"videoadapt.data_lists": ["kinetics400/*.csv", "ssv2/*.csv"]},  # made by who has the videos
    entry_points={"console_scripts": ["videoadapt = videoadapt.__main__:program"]},
    install_requires=[
        "torch>=2.4",  # tensors, autograd, fused attention, torch.distributed
        "timm>=1.0",  # the backbone `timm`: image models frame by frame; it brings torchvision, whose data sets we read
        f"decord>=0.6; {DECORD_WHEEL}",  # the default video decoder
        # looks at every file before it is decoded, is the second decoder, writes the quickstart's H.264 files. 19, for Python
        # 3.12 and later, opens no file with metadata_errors, and has times that are never None
        "av>=17.1,<19",
        "pytorchvideo>=0.1.5",  # MViT, SlowFast and X3D, the comparison backbones; published as source only
        "fvcore>=0.1.5.post20221221",  # Registry, and the count of floating point operations; published as source only
        "cloudpickle>=3",  # decoders and samplers of a notebook, in the processes that read videos
        "submitit>=1.5",  # jobs on Slurm, requeued when they are cut short
        "pydantic>=2",  # the schema of a config, all its problems reported at once
        "annotated-types>=0.6",  # the ranges that stand in signatures, which pydantic checks
        "pyyaml>=6",  # config files
        "huggingface_hub>=2",  # weights by name: the hub's answers, its cache and a user's login; timm brings it
        "safetensors>=0.4",  # weight and feature files that cannot run code
        "rich>=13",  # the progress bar and the parameter table
        "matplotlib>=3.8",  # the pictures that every run and sweep leaves: curves, confusions, accuracy against parameters
        "jinja2>=3.1",  # report.html, from templates that escape what is put into them
        "pillow>=10",  # pictures: images, folders of frames, JPEG in memory for data.jpeg_quality, bicubic resizing
        "numpy>=1.26",  # frame indices, predictions.npz
    ],
    extras_require={
        "export": EXPORT,
        "onnx": ONNX,
        "torchcodec": TORCHCODEC,
        "tensorboard": TENSORBOARD,
        "wandb": WANDB,
        "mlflow": MLFLOW,
        "check": CHECK,
        "energy": ENERGY,
        "images": IMAGES,
        "web": WEB,
        "dev": [
            *EXPORT,
            *TORCHCODEC,
            *TENSORBOARD,
            *CHECK,
            *ENERGY,
            *IMAGES,
            *WEB,
            *WANDB,
            *MLFLOW,
            "torchvision>=0.19",  # what its transforms draw and compute is compared with
            "ruff",  # format and lint
            "mypy",  # types
            "webdataset>=0.2.111",  # writes the tars that ours reads, and reads them for comparison
            "types-PyYAML",  # the types of pyyaml, which ships none
            "pytest",  # tests
            "pytest-xdist",  # the tests in two processes, in little more than half the time
            "transformers>=5.23",  # the reference for Hugging Face's VideoMAE files; 5.17 reads the hub's wrongly
            "playwright",  # the page in Debian's Chromium, as a person uses it
            "axe-playwright-python",  # axe-core, which finds what keeps people out of a page
            "pre-commit",  # format, lint and types before each commit
        ],
    },
)
