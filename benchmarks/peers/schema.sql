-- The one table of the HTTP peers, with as much data as the harness gives Courtyard.
CREATE TABLE messages (
    id uuid PRIMARY KEY,
    conversation_id uuid NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    author_id uuid NOT NULL,
    text text NOT NULL,
    client_message_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (conversation_id, number)
);
