"""The HTML page: charts, thumbnails and templates."""
