-- What a server writes in the life of two projects, in its order and under its rights: 'open' goes on at version 3,
-- with bob holding 'topology'; 'released' was frozen at version 1. Leaves are hashes of something, not of real entries.
INSERT INTO instance VALUES ('instance_id', 'i'), ('epoch', '1');
INSERT INTO replica VALUES ('r', 'LIVE', 1, 1, '127.0.0.1:1');
INSERT INTO project VALUES
    ('open', 'Open', 'open', '', '{}', '{}', 'ALLOWED', '{}', 1, 1, 0, 1),
    ('released', 'Released', 'released', '', '{}', '{}', 'ALLOWED', '{}', 1, 1, 0, 1);
INSERT INTO project_label VALUES ('open', 'a', 'b');
INSERT INTO head VALUES
    ('instance', 'ACTIVE', 0, '', 0, decode(repeat('00', 32), 'hex'), 0),
    ('open', 'ACTIVE', 0, '', 0, decode(repeat('00', 32), 'hex'), 0),
    ('released', 'ACTIVE', 0, '', 0, decode(repeat('00', 32), 'hex'), 0);
INSERT INTO log_entry VALUES
    ('instance', 1, 'log_genesis', 'system', decode(repeat('00', 32), 'hex'), sha256('i1'), 'i1'),
    ('instance', 2, 'migration_applied', 'system', sha256('i1'), sha256('i2'), 'i2'),
    ('instance', 3, 'authentication_failed', 'system', sha256('i2'), sha256('i3'), 'i3'),
    ('released', 1, 'log_genesis', 'system', decode(repeat('00', 32), 'hex'), sha256('r1'), 'r1');
INSERT INTO log_entry VALUES
    ('open', 1, 'log_genesis', 'system', decode(repeat('00', 32), 'hex'), sha256('o1'), 'o1');
INSERT INTO log_entry VALUES ('open', 2, 'lock_acquired', 'alice', sha256('o1'), sha256('o2'), 'o2');
INSERT INTO log_text VALUES ('open', 2, '\x00', 'because');
UPDATE head SET last_sequence = 3, tail = sha256('i3') WHERE log = 'instance';
UPDATE head SET last_sequence = 2, tail = sha256('o2') WHERE log = 'open';
UPDATE head SET last_sequence = 1, tail = sha256('r1') WHERE log = 'released';
INSERT INTO member VALUES ('open', 'alice', 'ADMIN', '', 1), ('open', 'bob', 'EDITOR', '', 1);
INSERT INTO session VALUES
    ('mine', 'open', 'alice', '{}', 'ATTACHED', 1, '', 'r', '', '', '', 0, 1, 0, 0, ''),
    ('his', 'open', 'bob', '{}', 'ATTACHED', 1, '', 'r', '', '', '', 0, 1, 0, 0, ''),
    ('over', 'released', 'alice', '{}', 'ATTACHED', 1, '', 'r', '', '', '', 0, 1, 0, 0, '');
INSERT INTO field VALUES
    ('open', 'system_prompt', 'TEXT', '', '', 0, 0, '', 0, '', NULL, '', '', 0, 0, ''),
    ('open', 'topology', 'JSON', '', '', 0, 0, '', 0, '', NULL, '', '', 0, 0, ''),
    ('released', 'system_prompt', 'TEXT', '', '', 0, 0, '', 0, '', NULL, '', '', 0, 0, '');

UPDATE field SET fence = fence + 1, lock_id = 'lock', session_id = 'mine', holder_subject = 'alice'
    WHERE project_id = 'open' AND name = 'system_prompt';
UPDATE field SET fence = fence + 1, lock_id = 'lock', session_id = 'over', holder_subject = 'alice'
    WHERE project_id = 'released';
UPDATE field SET fence = fence + 1, lock_id = 'held', session_id = 'his', holder_subject = 'bob'
    WHERE project_id = 'open' AND name = 'topology';
INSERT INTO lock_grant VALUES
    ('open', 'system_prompt', 1, 'lock', 'mine', 'alice', 2),
    ('open', 'topology', 1, 'held', 'his', 'bob', 3),
    ('released', 'system_prompt', 1, 'lock', 'over', 'alice', 2);
INSERT INTO content VALUES
    ('open', sha256('one'), 'one'), ('open', sha256('two'), 'two'), ('released', sha256('one'), 'one');
INSERT INTO content VALUES ('open', sha256('one'), 'one') ON CONFLICT DO NOTHING;
INSERT INTO draft VALUES
    ('open', 1, 'd1', 0, 'SAVE', 0, '{}', 'alice', 'mine', 1, '', sha256('1'), 2),
    ('released', 1, 'x1', 0, 'SAVE', 0, '{}', 'alice', 'over', 1, '', sha256('1'), 2);
UPDATE field SET last_changed_version = 1 WHERE name = 'system_prompt';
INSERT INTO draft_change VALUES
    ('open', 'system_prompt', 1, 'TEXT', '', '', sha256('one'), 3, 'lock', 1, 'mine', 'alice'),
    ('released', 'system_prompt', 1, 'TEXT', '', '', sha256('one'), 3, 'lock', 1, 'over', 'alice');
INSERT INTO draft VALUES
    ('open', 2, 'd2', 1, 'SAVE', 0, '{}', 'alice', 'mine', 1, '', sha256('2'), 2),
    ('open', 3, 'd3', 2, 'SAVE', 0, '{}', 'alice', 'mine', 1, '', sha256('3'), 2);
UPDATE field SET last_changed_version = 3 WHERE project_id = 'open' AND name = 'system_prompt';
INSERT INTO draft_change VALUES
    ('open', 'system_prompt', 3, 'TEXT', '', sha256('one'), sha256('two'), 3, 'lock', 1, 'mine', 'alice');
UPDATE field SET lock_id = '', session_id = NULL, holder_subject = '' WHERE name = 'system_prompt';
UPDATE field SET expire_time_us = 9 WHERE name = 'topology';
UPDATE head SET head_version = 3, current_draft_id = 'd3' WHERE log = 'open';
UPDATE head SET head_version = 1, current_draft_id = 'x1' WHERE log = 'released';

INSERT INTO comment VALUES
    ('open', 'task', 't', 'TASK', 'OPEN', 3, 'd3', '', 1, 1, '', '', '{}', 'alice', '', 'r', 1, 1, 1, 0, 0, '', 0, 1),
    ('open', 'gone', 't', 'NOTE', 'OPEN', 3, 'd3', '', 1, 1, '', '', '{}', 'alice', '', '', 1, 1, 1, 0, 0, '', 0, 1),
    ('released', 'task', 't', 'TASK', 'OPEN', 1, 'x1', '', 1, 1, '', '', '{}', 'alice', '', '', 1, 1, 1, 0, 0, '', 0, 1);
INSERT INTO comment_text VALUES ('open', 'task', 1, 'Why?'), ('open', 'gone', 1, 'Oh.'), ('released', 'task', 1, 'Why?');
UPDATE comment SET text_revision = 2, edit_time_us = 2, assignee = 'bob', revision = 2
    WHERE project_id = 'open' AND comment_id = 'task';
INSERT INTO comment_text VALUES ('open', 'task', 2, 'Why not?');
UPDATE comment SET delete_time_us = 2, revision = 2 WHERE comment_id = 'gone';

INSERT INTO run VALUES
    ('open', 'running', 3, sha256('3'), 'pytest', '{}', 1, 'RUNNING', '{"s":"bob"}', 1, 0, 0, 0, '', '[]'),
    ('open', 'silent', 3, sha256('3'), 'pytest', '{}', 1, 'RUNNING', '{"s":"bob"}', 1, 0, 0, 0, '', '[]'),
    ('open', 'passed', 3, sha256('3'), 'pytest', '{}', 1, 'RUNNING', '{"s":"bob"}', 1, 0, 0, 0, '', '[]');
INSERT INTO run_log_chunk VALUES ('open', 'running', 1, 2, 'ab'), ('open', 'passed', 1, 1, 'c');
UPDATE run SET line_count = 2, log_bytes = 2 WHERE run_id = 'running';
INSERT INTO run_log_chunk VALUES ('open', 'running', 3, 1, 'd');
UPDATE run SET line_count = 3, log_bytes = 3 WHERE run_id = 'running';
UPDATE run SET line_count = 1, log_bytes = 1 WHERE run_id = 'passed';
UPDATE run SET state = 'PASSED', finish_time_us = 3, log_sha256 = sha256('c') WHERE run_id = 'passed';

INSERT INTO "freeze" VALUES
    ('released', 'f', 1, 'x1', sha256('1'), sha256('f'), '{}', 5, '', 1, sha256('r1'), 2);
UPDATE head SET state = 'FROZEN' WHERE log = 'released';
-- Exports, members and the archive go on in a project that is frozen.
INSERT INTO log_entry VALUES ('released', 2, 'exported', 'alice', sha256('r1'), sha256('r2'), 'r2');
UPDATE head SET last_sequence = 2, tail = sha256('r2') WHERE log = 'released';
INSERT INTO request_record VALUES ('alice', 'Save', 'q', '', '', 1);
DELETE FROM request_record WHERE create_time_us < 2;
DELETE FROM project_label;
DELETE FROM member WHERE subject = 'bob';
UPDATE session SET state = 'CLOSED' WHERE session_id = 'over';
UPDATE replica SET renew_count = renew_count + 1;
INSERT INTO replica VALUES ('dead', 'LIVE', 7, 1, '127.0.0.1:2');
UPDATE replica SET state = 'FENCED' WHERE replica_id = 'dead';
INSERT INTO replica VALUES ('gone', 'LIVE', 7, 1, '127.0.0.1:3');
UPDATE replica SET state = 'LEFT' WHERE replica_id = 'gone';
UPDATE instance SET value = '2' WHERE name = 'epoch';
