"""What the page takes on: how large and long a film, how many that wait, and how long one may take."""

from dataclasses import dataclass

from videoadapt.errors import ConfigError

MOST_PIXELS = 8192 * 4352  # of a frame: 8K with a border; one decoded frame of it is 107 MB


@dataclass(frozen=True)
class Limits:
    """`max_waiting`: films behind the one that is looked at; `work_sec`: what one may take, with the model's loading."""

    max_mb: float = 200.0
    max_sec: float = 600.0
    max_waiting: int = 16
    work_sec: float = 600.0
    upload_sec: float = 300.0

    def check(self) -> None:
        """Raise ConfigError for a limit that lets nothing through."""
        named = {"--max-mb": self.max_mb, "--max-sec": self.max_sec}
        problems = [
            f"{name} {value:g}: allowed: above 0" for name, value in named.items() if not 0 < value < float("inf")
        ]
        if self.max_waiting < 0:
            problems.append(f"--max-waiting {self.max_waiting}: allowed: 0 or more")
        if problems:
            raise ConfigError(problems)

    @property
    def max_bytes(self) -> int:
        """Of an upload."""
        return int(self.max_mb * 1e6)
