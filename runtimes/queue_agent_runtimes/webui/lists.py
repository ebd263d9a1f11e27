"""What the server lists, as far as jobs name it: asked once, and again for names not found."""

from collections.abc import Iterable, Mapping
from typing import Final

from queue_agent.runtime.http import RuntimeClient
from queue_agent_runtimes.webui.fields import JsonObject

REFRESHED_BY: Final[Mapping[str, str]] = {
    "sd-models": "refresh-checkpoints",
    "sd-vae": "refresh-vae",
    "loras": "refresh-loras",
}
"""The orders to look at the disk anew, by list."""


class ServerLists:
    """The server's lists, each of which older versions and forks may lack."""

    def __init__(self, http: RuntimeClient) -> None:
        self._http = http
        self._known: dict[str, list[JsonObject]] = {}

    def forget(self) -> None:
        """The server was away: all may be different."""
        self._known.clear()

    async def entries(self, name: str) -> list[JsonObject] | None:
        """A list by the name of its route; None where there is none.

        Raises:
            Unavailable: the server does not answer, or with what is no JSON.
        """
        if name not in self._known:
            answer = await self._http.send("GET", f"/sdapi/v1/{name}")
            listed = answer.json() if answer.ok else None
            if not isinstance(listed, list):
                return None
            self._known[name] = [entry for entry in listed if isinstance(entry, dict)]
        return self._known[name]

    async def scripts(self, *, of_images: bool) -> list[str] | None:
        """The names of the scripts of txt2img or, `of_images`, img2img; raises like `entries`."""
        answer = await self._http.send("GET", "/sdapi/v1/scripts")
        listed = answer.json() if answer.ok else None
        names = (
            listed.get("img2img" if of_images else "txt2img") if isinstance(listed, dict) else None
        )
        return [str(name) for name in names] if isinstance(names, list) else None

    async def refreshed(self, name: str) -> list[JsonObject] | None:
        """The same, after the server has looked anew; raises like `entries`."""
        if order := REFRESHED_BY.get(name):
            await self._http.send("POST", f"/sdapi/v1/{order}")
        self._known.pop(name, None)
        return await self.entries(name)

    async def spelled(self, name: str, wanted: str, *keys: str) -> "str | None":
        """How the list spells what is wanted: by one of the keys, an alias, or in another case.

        As it is wanted, where there is no such list; None where it has no such entry, not even
        after the server has looked anew. Raises like `entries`.
        """
        listed = await self.entries(name)
        if listed is None:
            return wanted
        found = spelling(wanted, listed, keys)
        if found is None:
            found = spelling(wanted, await self.refreshed(name) or (), keys)
        return found


def spelling(wanted: str, listed: Iterable[JsonObject], keys: Iterable[str]) -> str | None:
    """The entry's first key, if it is known by the name that is wanted; the exact name first."""
    listed, (first, *_) = list(listed), (keys := tuple(keys))
    for entry in listed:
        if wanted in (entry.get(key) for key in keys):
            return wanted
    folded = wanted.casefold()
    for entry in listed:
        aliases = entry.get("aliases")
        names = [entry.get(key) for key in keys]
        names += aliases if isinstance(aliases, list) else []
        if folded in (name.casefold() for name in names if isinstance(name, str)):
            spelled = entry.get(first)
            return spelled if isinstance(spelled, str) else wanted
    return None
