"""Imported first: jsonschema, which Altair imports, builds 38 grammars of addresses if rfc3987-syntax is there.

It comes with JupyterLab, takes more than a second of each process, and no test needs it.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)
