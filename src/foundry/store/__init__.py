"""Everything SQL: tables, the write lane and its unit of work, repositories, the FoundryLog, migrations."""
