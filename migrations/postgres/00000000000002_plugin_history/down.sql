DROP TABLE plugin_suggestions;
DROP TABLE plugin_uses;
ALTER TABLE plugins DROP COLUMN config;
