"""The int8 network: typed operators, shapes and quantisation (`ir`), arithmetic, reference execution, importers."""
