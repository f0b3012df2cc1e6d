"""A page as a browser sees it: its text, its tags, and every address that it would ask for something."""

from html.parser import HTMLParser
from pathlib import Path

ASKS = {"src", "href", "srcset", "data", "poster", "action", "xlink:href", "background", "formaction"}
VOID = {"meta", "br", "img", "input", "link", "hr", "source", "track"}


class Page(HTMLParser):
    """Parsed with the rules of HTML, and closed tags checked."""

    def __init__(self, path: Path):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.addresses: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        # a link is followed by who reads, and asks for nothing by itself
        self.links += [
            value or "" for name, value in attrs if tag == "a" and name == "href" and not str(value).startswith("#")
        ]
        self.addresses += [value or "" for name, value in attrs if name in ASKS and value not in self.links]
        self.addresses += [value.split("url(", 1)[1] for _, value in attrs if value and "url(" in value]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            assert "url(" not in data and "@import" not in data
        elif data.strip():
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def asks_nothing(self) -> bool:
        """Whether all addresses are places in the page itself, which are there, or what the page carries along."""
        ids = [attrs["id"] for _, attrs in self.tags if "id" in attrs]
        assert len(ids) == len(set(ids)), "an id stands twice"
        inside = [address.rstrip(")").removeprefix("#") for address in self.addresses if address.startswith("#")]
        return set(inside) <= set(ids) and all(a.startswith(("#", "data:")) for a in self.addresses)
