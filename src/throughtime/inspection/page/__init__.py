"""The page of the lens: watch a trained network while it reads and writes.

``throughtime inspect RUN --serve`` serves the page and answers its requests; ``--html FILE`` writes
one file that holds the page and the answers for one text, and works without a server.

The page sends JSON with POST to ``/TOKEN/api/NAME``; the answer is JSON. An error has the status
400 and is ``{"error": "a sentence for the user"}``. Every request but ``runs`` names a run by
``"run"``, its index in ``runs``. *Values* are ``{"name", "shape": [T, W], "data"}``; ``data`` is
base64 of T times W float32 numbers in little-endian order.

``runs``   ``{}`` -> ``{"runs": [run]}``; a run is ``{"title", "folder", "task", "cell",
    "parameters", "is_language", "is_typed", "parts": [{"name", "values": [{"name", "label",
    "width", "is_state", "is_attention"}]}], "outputs": [name], "examples": [title], "start",
    "properties": [name], "notes": [sentence]}``. ``is_language``: the model writes token by token.
    ``is_typed``: a person can write its input. ``notes``: for example that it is still training.
``read``   ``{"text"} or {"example": number}, "values": [name], "known": K`` -> ``{"steps": {part:
    [token]}, "known": K', "values": [Values], "top": [[[output, probability]]], "features":
    Values or null, "feature_names", "unknown": sentence or ""}``. The page has the values of the
    first K tokens of the same text; the answer holds those from K' on (K' is 0 unless the model is
    a language model). ``top`` has the eight likeliest outputs after each step from K' on.
``fires``  ``{"name", "unit", "most"}`` -> ``{"places": [{"tokens", "values", "at"}], "steps": N}``:
    where the unit has its largest absolute values in the held-out data, with 40 tokens around.
``match``  ``{"text" or "example", "name", "from", "to", "threshold", "is_strict"}`` -> ``{"units":
    [unit], "places": [{"tokens", "from", "to", "count"}]}``: the units above the threshold
    throughout the selection (``is_strict``: and not on either side of it), and the held-out places
    where most of them are above it throughout.
``follow`` ``{"property"} or {"pattern": regular expression}`` -> ``{"units": [{"name", "unit",
    "correlation"}], "steps": N}``: the units that follow a property of the held-out text most.
``write``  ``{"text", "at", "length", "temperature", "top_k", "top_p", "seed", "set": [{"name",
    "unit", "value"}]}`` -> ``{"tokens", "top"}``: goes on from the state after the first ``at``
    tokens of the text; ``set`` holds units of states that keep a value throughout.
``compare`` ``{"runs": [index], "text" or "example"}`` -> ``{"lines": [{"text", "nats": [number for
    each run]}], "tokens": [token], "nats": [[number for each token] for each run]}``.
``beam``   ``{"text", "width"}`` -> ``{"nodes": [{"parent", "token", "log_probability", "is_best",
    "is_end"}], "source": [token]}``: the search as a tree; node 0 is the root.
``project`` ``{"name" or "embedding", "method": "pca" or "tsne"}`` -> ``{"points": [[x, y]],
    "tokens": [token], "explained": [share]}``.
"""
