"""The one chart toolkit, for files and for pages.

A chart is one Vega-Lite specification, made by Altair from a table alone. Files and page draw the very same one:

- :func:`save` puts the charts of a figure side by side, each under its title and caption, and writes PNG and SVG. It
  needs neither a browser nor the network.
- :func:`embed` gives the specification to the page, which writes title and caption as text, draws the chart as wide as
  its place, and adds what a file cannot have: zoom, and a legend that picks series. :func:`javascript` is the library
  that draws it there, once per page.

The kinds of charts are functions: :mod:`.lines`, :mod:`.points`, :mod:`.cells`, made of :mod:`.parts` in one
:mod:`.theme`. Every series differs from the others in its colour and in its marker.
"""

from diffgeo.report.charts.cells import heat_map
from diffgeo.report.charts.chart import Chart, Spec, Tables, in_figure
from diffgeo.report.charts.drawing import embed, javascript, page_theme, save
from diffgeo.report.charts.lines import by_time, curves, means_by, series_text, t_name
from diffgeo.report.charts.points import rows_of_points, scatter, strips
from diffgeo.report.charts.theme import FONT
from diffgeo.report.formatting import interval, name, number, timestep

__all__ = [
    "FONT",
    "Chart",
    "Spec",
    "Tables",
    "by_time",
    "curves",
    "embed",
    "heat_map",
    "in_figure",
    "interval",
    "javascript",
    "means_by",
    "name",
    "number",
    "page_theme",
    "rows_of_points",
    "save",
    "scatter",
    "series_text",
    "strips",
    "t_name",
    "timestep",
]
