"""From detections databases to pages, tables and the standard formats of the field. Reads databases, never writes."""
