"""The names of the fields of the interaction contract. They are written here and nowhere else."""

USER_ID = "user_id"
ITEM_ID = "item_id"
TIMESTAMP = "timestamp"
EVENT = "event"
WEIGHT = "weight"
LABEL = "label"
SESSION = "session"
EVENT_ID = "event_id"

# What a query request carries of the user's past, oldest first, padded at the end.
HISTORY_ITEM_ID = "history_item_id"
HISTORY_TIMESTAMP = "history_timestamp"

# What training derives of an item: a list of the users who took it, rows of the user table. Never served.
TAKEN_BY = "taken_by"

# Inputs of the exported signatures that are not features.
K = "k"
EXCLUDE_IDS = "exclude_ids"
ALLOW_IDS = "allow_ids"
POPULARITY_BETA = "popularity_beta"
CANDIDATE_IDS = "candidate_ids"
OVERLAY_IDS = "overlay_ids"
OVERLAY_VECTORS = "overlay_vectors"
WITHDRAWN_IDS = "withdrawn_ids"

# Outputs of the exported signatures.
IDS = "ids"
SCORES = "scores"
EMBEDDING = "embedding"
KEYS = "keys"
ROWS = "rows"
COUNT = "count"

# The id that means "nothing here": padding of a ragged list, an unknown or missing id.
MISSING_STRING_ID = ""
MISSING_INT_ID = -1
