//! The diesel schema of both databases; `migrations/` creates the tables.
//!
//! Invariant: every column type exists in SQLite and in PostgreSQL.

use diesel::{allow_tables_to_appear_in_same_query, table};

table! {
    accounts (mxid) {
        mxid -> Text,
        created_at -> BigInt,
    }
}

table! {
    tokens (digest) {
        digest -> Binary,
        mxid -> Text,
        created_at -> BigInt,
        used_at -> BigInt,
    }
}

table! {
    change_heads (shard) {
        shard -> Integer,
        number -> BigInt,
    }
}

table! {
    changes (shard, number) {
        shard -> Integer,
        number -> BigInt,
        kind -> Text,
        digests -> Binary,
        created_at -> BigInt,
    }
}

table! {
    accepted_terms (mxid, url) {
        mxid -> Text,
        url -> Text,
        accepted_at -> BigInt,
    }
}

table! {
    sessions (sid) {
        sid -> Text,
        medium -> Text,
        address -> Text,
        typed_address -> Text,
        client_secret_digest -> Binary,
        account -> Nullable<Text>,
        sealed_token -> Binary,
        created_at -> BigInt,
        validated_at -> Nullable<BigInt>,
        send_attempt -> Nullable<BigInt>,
        sending_attempt -> Nullable<BigInt>,
        sending_until -> Nullable<BigInt>,
        wrong_tokens -> Integer,
        next_link -> Nullable<Text>,
    }
}

table! {
    associations (medium, address) {
        medium -> Text,
        address -> Text,
        typed_address -> Text,
        mxid -> Text,
        ts -> BigInt,
        not_before -> BigInt,
        not_after -> BigInt,
        digest -> Nullable<Binary>,
        digest_lower -> Nullable<Binary>,
        digest_ascii -> Nullable<Binary>,
        digest_2 -> Nullable<Binary>,
        digest_lower_2 -> Nullable<Binary>,
        digest_ascii_2 -> Nullable<Binary>,
    }
}

table! {
    recorded_keys (id) {
        id -> Text,
        public_key -> Binary,
        is_current -> Integer,
        recorded_at -> BigInt,
    }
}

table! {
    peppers (number) {
        number -> BigInt,
        slot -> Integer,
        phase -> Text,
        pepper -> Text,
        since -> BigInt,
    }
}

table! {
    pepper_progress (number) {
        number -> BigInt,
        medium -> Text,
        address -> Text,
    }
}

table! {
    rate_limits (subject) {
        subject -> Binary,
        full_at -> BigInt,
    }
}

table! {
    outgoing_mails (id) {
        id -> Text,
        sealed_mail -> Binary,
        attempts -> Integer,
        next_attempt_at -> BigInt,
        leased_until -> Nullable<BigInt>,
        expires_at -> BigInt,
        backoff -> BigInt,
    }
}

table! {
    ephemeral_keys (public_key) {
        public_key -> Binary,
        created_at -> BigInt,
        expires_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
    }
}

table! {
    onbinds (id) {
        id -> Text,
        medium -> Text,
        address -> Text,
        mxid -> Text,
        server -> Text,
        ts -> BigInt,
        not_before -> BigInt,
        not_after -> BigInt,
        created_at -> BigInt,
        attempts -> Integer,
        next_attempt_at -> BigInt,
        leased_until -> Nullable<BigInt>,
        dead_at -> Nullable<BigInt>,
        last_failure -> Nullable<Text>,
        former_mxid -> Nullable<Text>,
        server_group -> Text,
    }
}

table! {
    /// The wait of an onbind, which is another column of its table: diesel's tables have at most 16.
    #[sql_name = "onbinds"]
    onbind_backoffs (id) {
        id -> Text,
        next_attempt_at -> BigInt,
        backoff -> BigInt,
    }
}

table! {
    invites (id) {
        id -> Text,
        medium -> Text,
        address -> Text,
        room_id -> Text,
        sender -> Text,
        token -> Text,
        public_key -> Nullable<Binary>,
        created_at -> BigInt,
        expires_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
        delivered_at -> Nullable<BigInt>,
        onbind_id -> Nullable<Text>,
        sending_until -> Nullable<BigInt>,
    }
}

table! {
    sms_days (day, calling_code) {
        day -> BigInt,
        calling_code -> Text,
        messages -> BigInt,
    }
}

table! {
    lookup_days (day) {
        day -> BigInt,
        fingerprint_key -> Binary,
    }
}

table! {
    lookup_leases (day, subject) {
        day -> BigInt,
        subject -> Binary,
        leased -> BigInt,
        parts -> BigInt,
        name -> Nullable<Text>,
    }
}

table! {
    lookup_fingerprints (day, subject, part) {
        day -> BigInt,
        subject -> Binary,
        part -> BigInt,
        fingerprints -> Binary,
    }
}

table! {
    invite_blocks (digest) {
        digest -> Binary,
        created_at -> BigInt,
    }
}

allow_tables_to_appear_in_same_query!(accounts, tokens, accepted_terms, associations);
allow_tables_to_appear_in_same_query!(invites, ephemeral_keys, onbinds);
