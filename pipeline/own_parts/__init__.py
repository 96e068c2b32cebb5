"""Parts from outside the package (`module:object`): their code, and what it raises."""
