"""What predictions of classes say: decisions, metrics, tables, statistics, pictures. Needs no torch."""
