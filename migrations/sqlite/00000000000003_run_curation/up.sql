-- What a run's curators made of its data, as JSON; none where it has no curators, or has not come so far.
ALTER TABLE runs ADD COLUMN curation TEXT;
