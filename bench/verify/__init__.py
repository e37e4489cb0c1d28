"""Does a record hold?"""
