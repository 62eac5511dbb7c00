"""What every room stands on: errors in one line, result files and their columns, places, this machine. No torch.

In: nothing.
Out: CSV and JSON files, whole or not at all; one line on stderr and status 2 where the user can mend it.
Public: errors.StudyError, errors.one_line, files.whole, folders.whole, folders.together, readers, lock.take,
    schema.write, schema.read, scored.Scored, paths, numbers, machine, execute.run, once.for_run.
"""
