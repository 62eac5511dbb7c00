"""python -m solid_utils.recommend --model PATH_OR_ID: see recommend.py."""

from solid_utils.recommend.recommend import command

command()
