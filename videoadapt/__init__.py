"""videoadapt: parameter-efficient video action recognition with frozen, VideoMAE-pretrained transformers."""

__version__ = "0.1.0"
