"""What a GPU has drawn from its plug: NVML's counter, where nvidia-ml-py is installed and the GPU has one (from Volta on)."""

from importlib.util import find_spec

import torch


class EnergyMeter:
    """Counts the energy of one GPU from here on: all of it, whatever else works there, and nothing else of the machine."""

    def __init__(self, device: torch.device):
        self.why_not = ""  # why nothing is known
        self._uuid = ""
        if device.type != "cuda":
            self.why_not = "only GPUs of NVIDIA count theirs"
        elif find_spec("pynvml") is None:
            self.why_not = "nvidia-ml-py is not installed (pip install 'videoadapt[energy]')"
        else:
            self._uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"  # torch may number them otherwise
        self._began = self._counted()

    def joules(self) -> float | None:
        """Since the meter was made; None where it is not known."""
        now = self._counted()
        return None if self._began is None or now is None else (now - self._began) / 1000

    def _counted(self) -> int | None:
        """Millijoules since the driver was loaded."""
        if self.why_not:
            return None
        import pynvml

        try:
            pynvml.nvmlInit()
            try:
                return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(self._uuid)))
            finally:
                pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:  # an older GPU, a part of one (MIG), a container without the library
            self.why_not = f"NVML: {error}"
            return None
