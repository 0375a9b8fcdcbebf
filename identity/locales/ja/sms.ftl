sms-text = Matrix の確認コード: { $token }
