"""What a run leaves: declared tables, a recorder of rows, run directories."""
