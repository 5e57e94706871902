"""The looks of the report page, beside what all pages share."""

STYLE = """
nav a { color: #0b57a4; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 12px; margin: 12px 0; }
.card { background: #fff; border: 1px solid #d5dae0; border-radius: 8px; padding: 12px 14px; min-width: 0; }
.card h3 { font-size: .85em; font-weight: 600; color: #4a5562; margin: 0; }
.card .value { font-size: 1.9em; font-weight: 650; line-height: 1.2; font-variant-numeric: tabular-nums; }
.card .who { font-weight: 600; overflow-wrap: anywhere; }
.card .gain, .card .facts { font-size: .85em; font-variant-numeric: tabular-nums; }
.better { color: #0e6b31; font-weight: 600; }
.worse { color: #a3341b; font-weight: 600; }
.notice { background: #fff8e6; border: 1px solid #e5c97a; border-radius: 8px; padding: 10px 14px; margin: 12px 0; }
.notice h3 { margin: 0 0 .2em; }
.notice ul, .notes { margin: .3em 0; padding-left: 1.2em; overflow-wrap: anywhere; }
.notes { color: #4a5562; font-size: .9em; max-width: 90ch; }
table.report th { font-weight: 600; }
table.report tbody th { text-align: left; }
table.report tr > :first-child { position: sticky; left: 0; background: #fff; border-right: 1px solid #d5dae0;
  white-space: normal; max-width: 260px; }
table.report tbody tr:nth-child(even) > :first-child { background: #f7f8fa; }
table.report small { font-size: .82em; color: #4a5562; font-weight: 400; }
table.report td, table.report tbody th { line-height: 1.25; vertical-align: top; }
table.report thead th { white-space: normal; }
table.report thead tr:last-child th { min-width: 84px; overflow-wrap: break-word; }
.better small { color: #0e6b31; }
.worse small { color: #a3341b; }
table.changes td { text-align: left; white-space: normal; overflow-wrap: break-word; }
table.changes thead tr:first-child th:not(:empty) { text-align: left; border-left: 0; }
.plots, .samples { display: grid; gap: 12px; margin: 12px 0; align-items: start; }
.plots { grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); }
.curves { grid-template-columns: repeat(auto-fill, minmax(min(100%, 360px), 1fr)); }
.samples { grid-template-columns: repeat(auto-fill, minmax(min(100%, 360px), 1fr)); }
.plots figure, .samples figure { background: #fff; border: 1px solid #d5dae0; border-radius: 8px; padding: 8px; }
.plots img { display: block; width: 100%; max-width: 520px; height: auto; margin: auto; }
.samples img { display: block; max-width: 100%; height: auto; margin: auto; }
.samples figcaption { font-size: .85em; color: #4a5562; overflow-wrap: anywhere; margin-top: 6px; }
details { background: #fff; border: 1px solid #d5dae0; border-radius: 8px; padding: 8px 14px; margin: 8px 0; }
summary { font-weight: 600; cursor: pointer; overflow-wrap: anywhere; }
.command { user-select: all; white-space: pre-wrap; overflow-wrap: anywhere; background: #f4f5f7; border-radius: 4px;
  padding: 8px 10px; margin: .3em 0 .8em; font-size: .9em; }
details li { overflow-wrap: anywhere; margin: .3em 0; }
details ul { padding-left: 1.2em; }
@media (max-width: 760px) {
  body { padding: 10px; }
  .cards { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 8px; }
  .card { padding: 8px 10px; }
  .card .value { font-size: 1.5em; }
  table.report tr > :first-child { max-width: 124px; }
  th, td { padding: 4px 7px; }
}
"""
