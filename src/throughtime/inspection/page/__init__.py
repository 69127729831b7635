"""The page of the lens: watch a trained network while it reads and writes.

``throughtime inspect RUN --serve`` serves the page and answers its requests; ``--html FILE`` writes
one file that holds the page and the answers for one text, and works without a server.

The page sends JSON with POST to ``/TOKEN/api/NAME``; the answer is JSON. An error has the status
400 and is ``{"error": "a sentence for the user"}``. Every request but ``runs`` names a run by
``"run"``, its index in ``runs``. *Values* are ``{"name", "shape": [T, W], "data"}``; ``data`` is
base64 of T times W float32 numbers in little-endian order. Ranges of tokens begin at ``from`` and
end before ``to``. *Top* is a list: for each step the eight likeliest outputs, ``[output,
probability]``, without those of probability 0.

``runs``   ``{}`` -> ``{"runs": [run]}``; a run is ``{"title", "folder", "task", "cell",
    "parameters", "is_language", "is_typed", "has_beam", "parts": [{"name", "values": [{"name",
    "label", "width", "is_state", "is_attention"}]}], "outputs": [name], "examples": [title],
    "start", "properties": [name], "embeddings": [name], "most_characters", "notes": [sentence]}``.
    ``is_language``: the model writes token by token. ``is_typed``: a person can write its input.
    ``has_beam``: it writes by a beam search. ``width`` is null for attention, whose width is the
    length of the source. ``parts`` is empty if the data of the run are missing, until a text was
    read. ``most_characters``: the largest length of a text. ``notes``: for example that it is still
    training; then ``runs`` loads the latest model.
``read``   ``{"text"} or {"example": number}, "values": [name], "known": K, "version"`` ->
    ``{"steps": {part: [token]}, "known": K', "version", "values": [Values], "top": Top, "features":
    Values or null, "feature_names", "unknown": sentence or "", "text": text or null}``. ``steps``
    holds all tokens. The page has the values of the first K tokens of the same text, as an answer
    of ``version`` gave them; ``values`` and ``top`` hold those from K' on (K' is 0 unless the model
    is a language model of that version). The rows of ``top`` belong to the last steps of the last
    part. ``text``: the input as a person would type it.
``fires``  ``{"name", "unit", "most"}`` -> ``{"places": [{"tokens", "values", "at"}], "steps": N}``:
    where the unit has its largest absolute values in the held-out data, with 40 tokens around;
    ``values`` is a list of numbers, ``at`` the index of the largest one.
``match``  ``{"text" or "example", "name", "from", "to", "threshold", "is_strict"}`` -> ``{"units":
    [unit], "places": [{"tokens", "from", "to", "count"}], "steps": N}``: the units above the
    threshold throughout the selection (``is_strict``: and not on either side of it), and the
    held-out places of the same length where most of them are above it throughout.
``follow`` ``{"property"} or {"pattern": regular expression}`` -> ``{"units": [{"name", "unit",
    "correlation"}], "steps": N}``: the units that follow a property of the held-out text most.
``write``  ``{"text", "at", "length", "temperature", "top_k", "top_p", "seed", "set": [{"name",
    "unit", "value"}]}`` -> ``{"tokens", "top": Top}``: goes on from the state after the first
    ``at`` tokens of the text; if ``at`` is 0, after ``start``. ``top`` has the likeliest tokens in
    place of each token that was written. ``set`` holds units of states that have this value before
    every step from there on. All but ``text``, ``at`` and ``length`` may be left out or null.
``compare`` ``{"runs": [index], "text" or "example"}`` -> ``{"lines": [{"text", "nats": [number for
    each run]}], "tokens": [token], "nats": [[number for each token] for each run]}``: minus the
    log-probability of each token, given those before it (the first one: given ``start``). The
    example is one of the first run.
``beam``   ``{"text", "width"}`` -> ``{"nodes": [{"parent", "token", "log_probability", "is_best",
    "is_end"}], "source": [token]}``: the search as a tree; node 0 is the root, with parent -1.
    ``log_probability`` is that of the token given the tokens above it.
``project`` ``{"name" or "embedding", "method": "pca" or "tsne"}`` -> ``{"points": [[x, y]],
    "tokens": [token], "explained": [share]}``: held-out states, or an embedding by its name in
    ``embeddings``.
"""
