"""The metrics of a run as a table: a list of rows that a notebook shows, and frames take."""

from typing import Any

import jinja2

_MAX_ROWS = 40

_TABLE = jinja2.Environment(autoescape=True).from_string(
    """<table>
<thead><tr>{% for name in names %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows %}
<tr>{% for name in names %}<td>{{ row[name] }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table>{% if hidden %}
<p>The last {{ rows | length }} rows; {{ hidden }} before them are not shown.</p>{% endif %}"""
)


class History(list[dict[str, Any]]):
    """Logged metrics, a row for each line of metrics.jsonl.

    ::

        run.history.column("loss", split="train")
        pandas.DataFrame(run.history)
    """

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in the order of their first occurrence."""
        return list(dict.fromkeys(name for row in self for name in row))

    def column(self, name: str, split: str = "") -> list[Any]:
        """Returns the values of a column, of the rows that have one.

        Args:
          name: 'step', 'loss' and so on.
          split: 'train', 'validation' or 'test'; '' for all rows.
        """
        return [row[name] for row in self if name in row and split in ("", row.get("split"))]

    def _repr_html_(self) -> str:
        last = self[-_MAX_ROWS:]
        rows = [{name: _format(row.get(name, "")) for name in self.columns} for row in last]
        return _TABLE.render(names=self.columns, rows=rows, hidden=len(self) - len(last))


def _format(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
