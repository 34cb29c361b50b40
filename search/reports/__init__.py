"""Views of a study: the page, the charts, the leaderboard, the dashboard."""
