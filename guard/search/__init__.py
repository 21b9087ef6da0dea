"""What an index holds of a picture, or of what words say: by picture, by captions, by meaning, by both.

One search is `Searcher(index, embedder).search(SearchQuery(picture=...))`.
"""

from guard.indexes.selection import RecordFilter
from guard.search.meaning import Meaning
from guard.search.query import MAX_LIMIT, SearchHit, SearchPage, SearchQuery
from guard.search.searcher import Searcher

__all__ = ["MAX_LIMIT", "Meaning", "RecordFilter", "SearchHit", "SearchPage", "SearchQuery", "Searcher"]
