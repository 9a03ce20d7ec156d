"""One small file for each kind of source; :mod:`fieldsight.systems.alert.sources` is their door."""
