"""Network parts that several systems share. Importing this package loads no torch; its modules do."""
