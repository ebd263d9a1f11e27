"""Links of a workflow that lead nowhere or in a circle, and whom that concerns. Pure functions.

The server looks at what its output nodes need, and at nothing else: it runs those whose nodes are
sound, and leaves out the others.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from pydantic import JsonValue

Nodes = Mapping[str, Mapping[str, JsonValue]]


def links_of(node: Mapping[str, JsonValue]) -> list[str]:
    """The ids of the nodes that a node takes its inputs from."""
    return [
        value[0]
        for _, value in _inputs(node)
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
    ]


def broken_links(graph: Nodes) -> dict[str, list[str]]:
    """By the ids of nodes, what is wrong with links of theirs that lead to no node."""
    found = {node_id: list(_broken(node_id, node, graph)) for node_id, node in graph.items()}
    return {node_id: faults for node_id, faults in found.items() if faults}


def behind_circles(graph: Nodes) -> dict[str, set[str]]:
    """Nodes on a circle of links, and those that need one; with which of these each waits for.

    Takes away nodes that nobody waits for until none is left, or only these are.
    """
    waiting = {node_id: set(links_of(node)) & graph.keys() for node_id, node in graph.items()}
    dependents = _dependents(graph)
    free = [node_id for node_id, sources in waiting.items() if not sources]
    while free:
        done = free.pop()
        del waiting[done]
        for dependent in dependents[done]:
            waiting[dependent].discard(done)
            if not waiting[dependent]:
                free.append(dependent)
    return waiting


def one_circle(waiting: Mapping[str, set[str]]) -> Sequence[str]:
    """Follows nodes that wait until one comes again."""
    path: dict[str, None] = {}
    node_id = next(iter(waiting))
    while node_id not in path:
        path[node_id] = None
        node_id = next(source for source in waiting[node_id] if source in waiting)
    visited = list(path)
    return [*visited[visited.index(node_id) :], node_id]


def some_output_is_sound(graph: Nodes, unsound: Iterable[str], outputs: Collection[str]) -> bool:
    """Whether a node of these classes needs none of the unsound ones, and is none itself."""
    reached, dependents, waiting = set(unsound), _dependents(graph), list(unsound)
    while waiting:
        for dependent in dependents[waiting.pop()]:
            if dependent not in reached:
                reached.add(dependent)
                waiting.append(dependent)
    return any(graph[node_id].get("class_type") in outputs for node_id in graph.keys() - reached)


def needed_by(graph: Nodes, ends: Iterable[str]) -> set[str]:
    """The nodes of these ids, and all that they take their inputs from."""
    found: set[str] = set()
    waiting = [*ends]
    while waiting:
        node_id = waiting.pop()
        if node_id in graph and node_id not in found:
            found.add(node_id)
            waiting += links_of(graph[node_id])
    return found


def _dependents(graph: Nodes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {node_id: [] for node_id in graph}
    for node_id, node in graph.items():
        for source in set(links_of(node)) & graph.keys():
            found[source].append(node_id)
    return found


def _broken(node_id: str, node: Mapping[str, JsonValue], graph: Nodes) -> Iterator[str]:
    for name, value in _inputs(node):
        if not isinstance(value, list) or len(value) != 2 or isinstance(value[1], str):
            continue
        source = value[0]
        if isinstance(source, int | float) and str(source) in graph:
            yield (
                f'node {node_id}, input {name}: the node id in a link is text: ["{source}", '
                f"{value[1]}] instead of [{source}, {value[1]}]"
            )
        elif isinstance(source, str) and source not in graph:
            yield f"node {node_id}, input {name}: links to node {source}, which does not exist"


def _inputs(node: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    inputs = node.get("inputs")
    yield from inputs.items() if isinstance(inputs, dict) else ()
