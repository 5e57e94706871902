"""The frame of the HTML pages of this suite: their looks, and the promise to fetch and run nothing."""

from html import escape

# The browser is told to fetch nothing, whatever a text may hold.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 16px; background: #f4f5f7; color: #1c2229; line-height: 1.45;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; font-size: 15px; }
h1 { font-size: 1.6em; margin: .2em 0 .4em; }
h2 { font-size: 1.25em; margin: 1.6em 0 .2em; }
h3 { font-size: 1em; margin: 0 0 .5em; overflow-wrap: anywhere; }
p { margin: .3em 0; max-width: 80ch; }
figure { margin: 0; }
nav { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: .6em 0 1em; }
.facts { color: #4a5562; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 12px 0; background: #fff; border: 1px solid #d5dae0; border-radius: 8px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; font-size: .93em; }
th, td { padding: 4px 10px; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 1px solid #d5dae0; font-weight: 600; }
thead tr:first-child th:not(:empty) { text-align: center; border-left: 1px solid #d5dae0; }
tbody tr:nth-child(even) { background: #f7f8fa; }
"""


def document(title: str, style: str, body: str) -> str:
    """Returns a page as one self-contained HTML text.

    Args:
        title: of the window.
        style: rules beside `STYLE`.
        body: HTML, escaped.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
