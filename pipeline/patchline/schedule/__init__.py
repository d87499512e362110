"""Which rows and columns are computed when, and what that costs in memory: geometry, memory model, solver, arena -> Plan."""
